"""The completion scripts: one shell function per shell, which calls `explr` for candidates."""

from __future__ import annotations

COMPLETION_VARIABLE = "_EXPLR_COMPLETE"
"""Environment variable with which a shell passes the line up to the cursor."""

Candidate = tuple[str, str]
"""Kind and word of a candidate at the cursor; printed with a comma between them."""

BASH = """\
_explr_completion() {
    local kind value word="${COMP_LINE:0:COMP_POINT}" breaks="" before=""
    COMPREPLY=()
    word="${word##*[[:space:]]}"
    # Bash completes only the text after the last = or :.
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+="="
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=":"
    [[ -n $breaks ]] && before="${word%"${word##*[$breaks]}"}"
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("${value#"$before"}")
                [[ $value == *[=./] ]] && compopt -o nospace
                ;;
        esac
    done < <(_EXPLR_COMPLETE="${COMP_LINE:0:COMP_POINT}" "$1" 2>/dev/null)
}
complete -F _explr_completion explr
"""

ZSH = """\
#compdef explr
_explr_completion() {
    local kind value
    local -a whole open
    while IFS=, read -r kind value; do
        case $kind in
            dir) _path_files -/ ;;
            file) compset -P '*='; _path_files -f ;;
            plain) if [[ $value == *[=./] ]]; then open+=("$value"); else whole+=("$value"); fi ;;
        esac
    done < <(_EXPLR_COMPLETE="${(j: :)words[1,CURRENT]}" "$words[1]" 2>/dev/null)
    (( $#open )) && compadd -S '' -a open
    (( $#whole )) && compadd -a whole
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _explr_completion "$@"
else
    compdef _explr_completion explr
fi
"""

FISH = """\
function _explr_completion
    for answer in (env _EXPLR_COMPLETE=(commandline -cp) explr 2>/dev/null)
        set -l parts (string split -m 1 "," -- $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                set -l token (commandline -ct)
                set -l before (string match -r "^.*=" -- $token)
                for path in (__fish_complete_path (string replace -r "^.*=" "" -- $token))
                    echo $before$path
                end
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command explr --arguments "(_explr_completion)"
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
"""The script of each shell, to be read by it at its start."""
