"""Reading and writing of files.

Reading checks all contents. Files are written completely or not at all, and no pickles are used.
"""
