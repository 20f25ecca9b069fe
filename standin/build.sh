#!/usr/bin/env bash
# Builds the stand-in of NVIDIA's PyTorch image and pins it. Prints what a Dockerfile's FROM takes: NAME:TAG@sha256:…
# Built already from the same files: prints it again. What it is, and how the pin works: standin/README.md
#
# This machine's own pip configuration (index, find-links, CA bundle, constraint) is used by `pip download` here, outside
# the build; its apt sources by mmdebstrap. The build itself runs without network, and none of them is in the image.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
release=26.03
torch=2.13.0+cpu  # "+cpu" keeps pip from the CUDA build, which is four times as large
port=${TUNEGATE_STANDIN_PORT:-5055}
packages=python3,python3-pip,python-is-python3,ca-certificates,procps,libgomp1
export DOCKER_BUILDKIT=0  # Debian 12 has no buildx; the classic builder is what the SDK uses too

fail() { echo "build: $*" >&2; exit 1; }
eval "$("$here/engine.sh" start)"
exec 9<"$here/build.sh" && flock 9  # two callers: the second finds the first one's image
# Only an engine that asks pin.py for nvcr.io may hold the stand-in under NVIDIA's name: elsewhere it would hide the real one.
if [ "$(docker info --format '{{.HTTPProxy}}')" = "http://127.0.0.1:$port" ]; then
  repository=nvcr.io/nvidia/pytorch
else
  repository=127.0.0.1:$port/nvidia/pytorch
fi
name=$repository:$release-py3
inputs=$(cd "$here" && cat Dockerfile nvidia_entrypoint.sh build.sh | sha256sum | cut -c1-16)

digest() { docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name" | sed -n "s#^$repository@##p" | head -n 1; }
built() { [ "$(docker image inspect --format '{{index .Config.Labels "org.tunegate.standin"}}' "$name" 2>/dev/null)" = "$inputs" ]; }

make_base() {  # essential Debian, Python and pip; apt's sources stay here
  docker image inspect "$base" >/dev/null 2>&1 && return
  apt-config dump | grep -E '^Acquire::(Check|http|https)' >"$work/apt.conf" || true
  sources=()
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -s "$file" ]; then sources+=("$file"); fi
  done
  mmdebstrap --quiet --variant=minbase --include=$packages --aptopt="$work/apt.conf" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
    --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/*.log "$1"/var/log/apt/*' \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/base.tar" "${sources[@]}"
  docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$work/base.tar" "$base" >/dev/null
  rm "$work/base.tar"
}

get_wheels() {  # for the image's Python, whatever Python this machine runs
  version=$(docker run --rm --network none "$base" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  machine=$(uname -m)
  platforms=()
  for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 linux; do platforms+=(--platform "${tag}_$machine"); done
  python3 -m pip download --quiet --dest "$work/wheels" --only-binary :all: --python-version "$version" "${platforms[@]}" \
    "torch==$torch" numpy || fail "pip found no torch $torch here: point its find-links or index to CPU wheels (README.md)"
}

if ! built; then
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is not installed: apt-get install mmdebstrap"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  base=tunegate/standin-base:$(echo "$packages" | sha256sum | cut -c1-12)
  make_base >&2
  get_wheels >&2
  cp "$here/Dockerfile" "$here/nvidia_entrypoint.sh" "$work/"
  rm -f "$work/apt.conf"
  docker build --network none --build-arg "BASE=$base" --build-arg "RELEASE=$release" \
    --label "org.tunegate.standin=$inputs" --tag "$name" "$work" >&2
  docker image prune --force --filter label=org.tunegate.standin.stage=packages >&2  # 1 GB that nothing needs again
fi
[ -n "$(digest)" ] || python3 "$here/pin.py" "$name" "$port" >&2
echo "$name@$(digest)"
