"""Models in the forms of other tools: timm's folders, Hugging Face's, and plain safetensors."""
