"""What Hydra discovers; thin shells that wire the rooms behind them."""
