"""Pictures from folders and stacks, tables of labels and boxes."""
