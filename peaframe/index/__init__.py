"""What models made of a folder's media, kept on disk once, to be asked anything afterwards."""
