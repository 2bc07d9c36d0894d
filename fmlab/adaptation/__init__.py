"""Few-shot efficient fine-tuning: a pre-trained model, five scans, and a choice of what to train.

    adapter = attach(model, "lora", structures=["liver"], rank=4)   # freezes, adds, and says what it did
    print(adapter.report())
    train(adapter.model, objective, patches, TrainConfig(...), folder)
    adapter.save("liver.safetensors")                               # a few kB, with the base model's hash
    adapter.merge()                                                 # the same function at the base model's cost

One method a file: ``selective`` (full, decoder, linear probe, BitFit, affine), ``spatial_adapter``, ``lora``, ``adaptformer``,
``cnn_adapter``, ``lite_residual``, ``compacter``, ``sora``, ``adalora``, ``arena``.
"""

from fmlab.adaptation.attach import METHODS, Adapter, attach, load

__all__ = ["METHODS", "Adapter", "attach", "load"]
