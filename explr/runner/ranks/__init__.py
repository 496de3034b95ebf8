"""The processes of one training: who starts them, what each runs, how they end as one."""
