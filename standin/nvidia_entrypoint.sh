#!/bin/bash
# Stand-in of NGC's entrypoint: a banner on stdout, a warning without a driver, then the command.
printf '\n=============\n== PyTorch ==\n=============\n\nStand-in of NVIDIA Release %s (Debian packages, CPU torch; not an NVIDIA image)\nPyTorch Version %s\n\n' \
  "$NVIDIA_PYTORCH_VERSION" "$PYTORCH_VERSION"
if [ ! -e /dev/nvidiactl ]; then
  printf 'WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available.\n\n'
fi
if [ $# -eq 0 ]; then exec /bin/bash; fi
exec "$@"
