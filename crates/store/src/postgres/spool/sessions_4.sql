-- Where the process is, as a word of its machine. Who says the same can see whether it has ended.
ALTER TABLE malote.sessions ADD COLUMN place text;
