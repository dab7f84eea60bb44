"""Images: pictures, their masks and boxes, and films, as patches on a plane."""
