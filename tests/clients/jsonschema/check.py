"""Says of each TOML text on standard input, a JSON array, whether the schema lets it through."""

import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
validator = jsonschema.Draft7Validator
validator.check_schema(schema)
texts = json.load(sys.stdin)
print(json.dumps([validator(schema).is_valid(tomllib.loads(text)) for text in texts]))
