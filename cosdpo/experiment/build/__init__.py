"""Preferences from prompts: answers are sampled and scored, and where asked for trained on, round by round."""
