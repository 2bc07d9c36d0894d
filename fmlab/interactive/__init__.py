"""Section 2.C: interactive segmentation: SAM and what became of it in medicine, simulated prompts, annotation."""
