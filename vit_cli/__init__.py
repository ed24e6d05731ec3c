"""Train Vision Transformers from YAML recipes, fine-tune them at a higher resolution, evaluate and ship them."""

__version__ = "0.1.0"
