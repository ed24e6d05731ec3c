"""The models a recipe can name: `Model` is the union of their sections."""

from vit_cli.models.vit import Vit

Model = Vit  # becomes a union, told apart by `name`, with the second model
