"""The pages of docs/reference/, each made from the part of the code that it describes."""
