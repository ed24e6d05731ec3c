"""What happens to images on their way to the model: per-image transforms, preprocessing, mixing of batches."""
