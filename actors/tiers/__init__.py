"""One actor a storage tier; all answer the words of ``messages.tiers``."""
