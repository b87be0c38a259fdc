"""Where contacts stand: the log's end, behind a small cache, under each contact's lock."""
