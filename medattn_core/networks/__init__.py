"""Networks: attention, encoders, AttentionCNN. torch only: no file, no patient."""
