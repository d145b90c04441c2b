"""What each verb does with a composed config."""
