#!/usr/bin/env bash
# Build and push the image, and write the flex template: deploy/template.sh IMAGE gs://BUCKET/plumbline.json
# BUILD_ARGS: further arguments of `docker build`, such as "--build-arg TORCH=cuda".
set -euo pipefail
cd "$(dirname "$0")/.."
image=${1:?the image, as in europe-docker.pkg.dev/my-project/my-repo/plumbline:1}
template=${2:?where the template goes, as in gs://my-bucket/plumbline.json}
# shellcheck disable=SC2086
docker build -f deploy/Dockerfile -t "$image" ${BUILD_ARGS:-} .
docker push "$image"
gcloud dataflow flex-template build "$template" --image "$image" --sdk-language PYTHON --metadata-file deploy/metadata.json
