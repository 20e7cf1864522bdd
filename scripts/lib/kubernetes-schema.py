"""Whether manifests are what Kubernetes reads, by its published schemas.

    python kubernetes-schema.py VERSIONS DIRECTORY

Needs the package kubernetes-validate. VERSIONS are like 1.33,1.35. Every NAME.yaml of the directory is
read as kubectl reads it (YAML 1.1), held against the list of objects in NAME.json, and each object
against the strict schema of each version. Objects of KEDA have no schema here and are counted. Says what
is wrong and ends with 1.
"""

import functools
import json
import pathlib
import sys

import kubernetes_validate
import yaml
from kubernetes_validate import utils

# The definitions of a version are large, and would be read for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def main():
    versions, directory = sys.argv[1].split(","), pathlib.Path(sys.argv[2])
    wrong, valid, beyond = [], 0, 0
    files = sorted(directory.glob("*.yaml"))
    for file in files:
        with file.open() as text:
            objects = [one for one in yaml.load_all(text, Loader=yaml.SafeLoader) if one]
        if objects != json.loads(file.with_suffix(".json").read_text()):
            wrong.append(f"{file.name}: YAML 1.1 reads something else than was meant")
            continue
        for one in objects:
            name = f"{file.name}: {one['kind']} {one['metadata']['name']}"
            if one["apiVersion"].startswith("keda.sh/"):
                beyond += 1
                continue
            for version in versions:
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                    valid += 1
                except kubernetes_validate.ValidationError as error:
                    path = ".".join(str(step) for step in error.path)
                    wrong.append(f"{name} ({version}): {path}: {error.message}")
                except kubernetes_validate.SchemaNotFoundError as error:
                    wrong.append(f"{name} ({version}): {error.message}")
    for line in wrong:
        print(line)
    print(f"{len(files)} files, {valid} times an object is valid, {beyond} objects of KEDA without a schema")
    sys.exit(bool(wrong) or not valid)


main()
