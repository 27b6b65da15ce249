"""The records of the topics as documents: JSON Schema of each, one AsyncAPI document of all, a page for people.

All is made from the types that write and read the records, the list of topics and one table of fields: nothing about a
record is said twice. `stream-app schemas` writes the files; those in `docs/schemas/` are the ones of this version.
"""
