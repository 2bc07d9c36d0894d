"""Few-shot efficient fine-tuning: a pre-trained model, five scans, and a choice of what to train."""
