"""Keys as public configs, scripts and services spell them: of secrets, and of other settings."""

# ruff: noqa: SIM905

SECRET = """
    password db.password DB_PASSWORD DB_PASS db_pass dbpassword PGPASSWORD MYSQL_PWD
    MYSQL_ROOT_PASSWORD POSTGRES_PASSWORD REDIS_PASSWORD redis.auth SSHPASS ssh_passphrase
    passphrase keyPassphrase passwd user_passwd smtp.pass smtp_pass ftp_pwd pwd db_pw
    KEYSTORE_PASSWORD storepass sudo_pass secret client_secret clientSecret APP_SECRET
    SECRET_KEY DJANGO_SECRET_KEY JWT_SECRET jwt_secret secrets.a secret_access_key
    AWS_SECRET_ACCESS_KEY aws.secret_key MINIO_SECRET_KEY VAULT_SECRET_ID webhook_secret
    WEBHOOK_SECRET signing_secret cookie_secret flask.secret api_key apiKey apikey API_KEYS
    x_api_key OPENAI_API_KEY openai_key openai_api_key ANTHROPIC_API_KEY anthropic.api_key
    GEMINI_API_KEY google_api_key azure_key AZURE_OPENAI_KEY cohere_key hf_key WANDB_API_KEY
    wandb.api_key wandb_key COMET_API_KEY NEPTUNE_API_TOKEN CLEARML_API_SECRET_KEY
    LANGCHAIN_API_KEY PINECONE_API_KEY KAGGLE_KEY DATADOG_API_KEY ENCRYPTION_KEY signing_key
    private_key privateKey ssh_private_key PRIVATE_KEY account_key AZURE_STORAGE_ACCOUNT_KEY
    access_key accesskey AWS_ACCESS_KEY master_key token hf_token HF_TOKEN
    HUGGING_FACE_HUB_TOKEN access_token accessToken ACCESS_TOKENS auth_token authtoken authToken
    AUTH_TOKEN bearer_token refresh_token id_token session_token AWS_SESSION_TOKEN GITHUB_TOKEN
    GH_TOKEN gitlab.token CI_JOB_TOKEN slack_bot_token TELEGRAM_BOT_TOKEN DISCORD_TOKEN
    MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_PASSWORD npm_token NPM_TOKEN PYPI_TOKEN
    DOCKER_PASSWORD registry_auth acme_token user_token device_token csrf_token credential
    credentials credentials.user creds db_creds CREDS cred auth proxy_auth http.auth basic_auth
    Authorization headers.Authorization jwt JWT user_jwt bearer cookie set_cookie session_cookie
    SENTRY_DSN sentry.dsn GITHUB_PAT otp
""".split()
"""Keys whose values are secrets, whatever they are."""

HARMLESS = """
    lr learning_rate optimizer.lr optimizer.weight_decay momentum betas eps warmup_steps epochs
    max_epochs batch_size train.batch_size eval_batch_size gradient_accumulation_steps grad_clip
    gradient_clip_val seed num_workers pin_memory prefetch_factor persistent_workers shuffle
    drop_last model.name model.hidden_size hidden_dim num_layers n_layer n_head num_heads
    num_attention_heads dropout attention_dropout activation norm bias use_bias init_std d_model
    d_ff vocab_size max_tokens n_tokens num_tokens max_new_tokens min_new_tokens
    tokens_per_batch tokens_per_second token_count token_dim token_type_embeddings
    token_type_ids token_drop_rate tokenizer tokenizer.name tokenizer_path tokenizer_config
    use_fast_tokenizer tokens pad_token eos_token bos_token unk_token mask_token sep_token
    cls_token class_token image_token video_token audio_token pad_token_id eos_token_id
    image_token_index img_token_id special_tokens additional_special_tokens fim_prefix_token
    num_image_tokens patch_token register_token key keys key_dim key_size num_keys
    key_value_heads num_key_value_heads kv_cache image_key label_key text_key keys_to_log
    sort_key primary_key cache_key group_key query_key key_padding_mask monkey keyboard hotkey
    turkey keypoints keypoint_loss keyframe keywords keyword author authors authority
    author_email authentication_method auth_type auth_url num_passes forward_pass backward_pass
    n_pass two_pass low_pass high_pass bandpass lowpass bypass compass compass_dir pass_rate
    pass_at_k passes encompass passenger passive passthrough pass_through overpass secretary
    secret_name password_file password_length token_file access_token_file token_path
    credentials_path credentials_file key_file key_path ssl_key_file cert_file api_key_env
    api_key_name token_type token_url token_ttl cookie_path cookies_file auth_provider
    secret_manager secret_arn accuracy metric metrics objective.metric direction loss
    loss.weight val_loss monitor patience mode early_stopping checkpoint checkpoint_dir
    save_top_k save_dir log_dir logger.name project entity group tags notes run_name
    experiment_name experiment_id job_type dataset dataset.path data_dir root train_split
    val_split test_split num_classes image_size crop_size mean std augment mixup cutmix
    label_smoothing ema ema_decay scheduler scheduler.gamma step_size milestones t_max min_lr
    device devices accelerator strategy precision num_nodes sync_batchnorm deterministic
    benchmark profiler compile backend dist_url world_size rank local_rank master_addr
    master_port n_trials n_jobs sampler pruner study_name storage timeout resume host port user
    username endpoint url uri bucket region prefix version
""".split()
"""Keys whose values may be seen."""

SWITCHES = "private is_private make_private hub_private_repo use_auth use_secret no_token".split()
"""Keys that are switched on and off."""
