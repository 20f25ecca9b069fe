/* Stands in for NVIDIA's libnvidia-ml.so.1: the calls that tunegate makes, answered out of the environment.
   FAKE_GPUS, FAKE_NAME, FAKE_DRIVER, FAKE_MEMORY_MIB, FAKE_FREE_MIB, FAKE_PROCESSES; FAKE_MIG: slices of each GPU (unset: MIG off);
   FAKE_NVML_ERROR: what nvmlInit returns; FAKE_LOST: the index of a GPU that fell off the bus; FAKE_SHARED: no memory of its own;
   FAKE_HANG: never answer. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15, MISMATCH = 18 };
typedef struct { int gpu, slice; } Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } Process;

static Device devices[8][9]; /* [gpu][0] is the whole, [gpu][n] its n-th slice */

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}
static int text(char *into, unsigned size, const char *name, const char *otherwise) {
  const char *found = getenv(name);
  snprintf(into, size, "%s", found ? found : otherwise);
  return OK;
}

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  if (getenv("FAKE_HANG")) sleep(3600);
  return number("FAKE_NVML_ERROR", OK);
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
  switch (code) {
    case NOT_LOADED: return "Driver Not Loaded";
    case LOST: return "GPU is lost";
    case MISMATCH: return "Driver/library version mismatch";
    default: return "An error of the stand-in";
  }
}
int nvmlSystemGetDriverVersion(char *into, unsigned size) { return text(into, size, "FAKE_DRIVER", "580.82.07"); }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = number("FAKE_GPUS", 1); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **found) {
  if (number("FAKE_LOST", -1) == (int)index) return LOST;
  if (index >= 8) return INVALID;
  devices[index][0].gpu = index;
  *found = &devices[index][0];
  return OK;
}
int nvmlDeviceGetName(Device *device, char *into, unsigned size) {
  (void)device;
  return text(into, size, "FAKE_NAME", "NVIDIA H100 80GB HBM3");
}
int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
  if (getenv("FAKE_SHARED")) return UNSUPPORTED;
  memory->total = (unsigned long long)number("FAKE_MEMORY_MIB", 81559) << 20;
  if (device->slice) memory->total /= 8;
  memory->free = (unsigned long long)number("FAKE_FREE_MIB", (int)(memory->total >> 20)) << 20;
  memory->used = memory->total - memory->free;
  return OK;
}
int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
  (void)device;
  *major = 9;
  *minor = 0;
  return OK;
}
int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
  (void)device;
  *current = *pending = getenv("FAKE_MIG") != NULL;
  return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned *count) { (void)device; *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **found) {
  if ((int)index >= number("FAKE_MIG", 0)) return NOT_FOUND;
  *found = &devices[device->gpu][index + 1];
  (*found)->slice = index + 1;
  return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *into) {
  unsigned running = number("FAKE_PROCESSES", 0), room = *count;
  (void)device;
  *count = running;
  if (room < running) return TOO_SMALL;
  for (unsigned i = 0; i < running; i++) into[i] = (Process){1000 + i, 1 << 20, 0, 0};
  return OK;
}
