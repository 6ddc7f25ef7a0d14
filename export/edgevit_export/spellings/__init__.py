"""What each delegate takes, as tables that rewrite a captured program of any network."""
