"""From counted instructions to an estimate of cycles; every result is called an estimate."""
