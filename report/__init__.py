"""What people see of an output: the gallery in one HTML file, and the dataset card; from the files alone."""
