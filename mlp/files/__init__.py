"""Files of data alone: containers of arrays, encoded values, saving and loading."""
