"""How the profiles that come with the package are made from the rows in their folders: ``make models``."""
