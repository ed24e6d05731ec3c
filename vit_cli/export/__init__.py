"""Models in the forms of other tools: ONNX, torch.export, timm's folders, Hugging Face's, and plain safetensors."""
