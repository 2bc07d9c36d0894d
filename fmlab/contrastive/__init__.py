"""Section 1.A: pictures and words in one space; CLIP's and FLAIR's losses, zero-shot by names and by knowledge, probes.

``eyes``, ``findings``, ``cameras``, ``fundus``: procedural fundus photographs. ``conditions``: what they are called, and how
experts describe them. ``everything``: what a generalist sees. ``encoders``, ``image_text``, ``clip_loss``, ``pairing_loss``: the
model. ``zero_shot``, ``probe``: its use. ``nano``: the two small models of lesson 02. ``flair``: the published one, for who has
its weights.
"""
