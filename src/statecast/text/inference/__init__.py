"""What a trained model of texts makes: new texts."""
