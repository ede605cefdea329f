/* A synchronous in-process driver, as a C program would bring one: everything happens on the caller's stack, and a
 * transmission re-enters the receiving node. For one thread. C99 and C++11. */
#ifndef IPCZ_TESTS_C_DRIVER_H_
#define IPCZ_TESTS_C_DRIVER_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipcz/get_api.h"

enum Kind { TRANSPORT = 1, MEMORY = 2, MAPPING = 3, BLOB = 4 };

struct Message {
  struct Message* next;
  void* data;
  size_t num_bytes;
  IpczDriverHandle* handles;
  size_t num_handles;
};

struct Object {
  enum Kind kind;
  int references;
  /* A transport's. */
  struct Object* peer;
  IpczHandle listener;
  IpczTransportActivityHandler handler;
  struct Message* queue;
  int delivering, stopping, told;
  /* A memory's. */
  void* bytes;
  size_t num_bytes;
  /* A mapping's. */
  struct Object* memory;
  /* A blob's: what Serialize answers when it is asked without a transport. */
  IpczResult answer;
};

/* What tests look at and turn. */
static struct {
  long objects, randoms, activations, deactivations, reports, closed;
  IpczDriverHandle reported;
  uintptr_t context;
  int fail_activate, fail_transmit, fail_allocate, fail_random;
  IpczHandle last_listener;
  IpczTransportActivityHandler last_handler;
} driver_seen;

static struct Object* driver_object(IpczDriverHandle handle) {
  return (struct Object*)handle;
}

static IpczDriverHandle driver_handle(struct Object* object) {
  return (IpczDriverHandle)object;
}

static struct Object* driver_make(enum Kind kind) {
  struct Object* object = (struct Object*)calloc(1, sizeof *object);
  object->kind = kind;
  object->references = 1;
  driver_seen.objects++;
  return object;
}

static IpczResult IPCZ_API driver_close(IpczDriverHandle handle, uint32_t flags, const void* options);

static void driver_drop(struct Object* object) {
  if (--object->references == 0) {
    if (object->kind == MEMORY) free(object->bytes);
    driver_seen.objects--;
    free(object);
  }
}

static void driver_free_message(struct Message* message) {
  free(message->data);
  free(message->handles);
  free(message);
}

/* Delivers what waits, unless a delivery to the same listener is under way: that one goes on then. */
static void driver_deliver(struct Object* to) {
  if (to->delivering || !to->handler) return;
  to->delivering = 1;
  to->references++;
  while (to->queue && to->handler && !to->stopping) {
    struct Message* message = to->queue;
    IpczResult result;
    to->queue = message->next;
    result = to->handler(to->listener, message->data, message->num_bytes, message->handles, message->num_handles,
                         IPCZ_NO_FLAGS, NULL);
    driver_free_message(message);
    if (result != IPCZ_RESULT_OK && result != IPCZ_RESULT_UNIMPLEMENTED && to->handler && !to->told) {
      to->told = 1;
      to->handler(to->listener, NULL, 0, NULL, 0, IPCZ_TRANSPORT_ACTIVITY_ERROR, NULL);
    }
  }
  if (!to->queue && !to->peer && to->handler && !to->told && !to->stopping) {
    to->told = 1;
    to->handler(to->listener, NULL, 0, NULL, 0, IPCZ_TRANSPORT_ACTIVITY_ERROR, NULL);
  }
  to->delivering = 0;
  if (to->stopping && to->handler) {
    IpczTransportActivityHandler handler = to->handler;
    to->handler = NULL;
    handler(to->listener, NULL, 0, NULL, 0, IPCZ_TRANSPORT_ACTIVITY_DEACTIVATED, NULL);
  }
  driver_drop(to);
}

static IpczResult IPCZ_API driver_close(IpczDriverHandle handle, uint32_t flags, const void* options) {
  struct Object* object = driver_object(handle);
  (void)flags, (void)options;
  driver_seen.closed++;
  if (object->kind == TRANSPORT) {
    struct Object* peer = object->peer;
    while (object->queue) {
      struct Message* message = object->queue;
      object->queue = message->next;
      for (size_t i = 0; i < message->num_handles; ++i) driver_close(message->handles[i], 0, NULL);
      driver_free_message(message);
    }
    object->peer = NULL;
    if (peer) {
      peer->peer = NULL;
      driver_deliver(peer);
    }
  } else if (object->kind == MAPPING) {
    driver_drop(object->memory);
  }
  driver_drop(object);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_serialize(IpczDriverHandle handle, IpczDriverHandle transport, uint32_t flags,
                                            const void* options, volatile void* data, size_t* num_bytes,
                                            IpczDriverHandle* handles, size_t* num_handles) {
  struct Object* object = driver_object(handle);
  size_t room = num_handles ? *num_handles : 0;
  (void)flags, (void)options, (void)data;
  if (object->kind == MAPPING || (object->kind == BLOB && !transport && object->answer)) {
    return object->kind == BLOB ? object->answer : IPCZ_RESULT_INVALID_ARGUMENT;
  }
  if (!transport) return IPCZ_RESULT_ABORTED;
  if (num_bytes) *num_bytes = 0;
  if (num_handles) *num_handles = 1;
  if (room < 1) return IPCZ_RESULT_RESOURCE_EXHAUSTED;
  handles[0] = handle;
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_deserialize(const volatile void* data, size_t num_bytes,
                                              const IpczDriverHandle* handles, size_t num_handles,
                                              IpczDriverHandle transport, uint32_t flags, const void* options,
                                              IpczDriverHandle* handle) {
  (void)data, (void)flags, (void)options;
  if (num_bytes || num_handles != 1 || !transport) return IPCZ_RESULT_INVALID_ARGUMENT;
  *handle = handles[0];
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_create_transports(IpczDriverHandle a, IpczDriverHandle b, uint32_t flags,
                                                    const void* options, IpczDriverHandle* first,
                                                    IpczDriverHandle* second) {
  struct Object* one = driver_make(TRANSPORT);
  struct Object* two = driver_make(TRANSPORT);
  (void)a, (void)b, (void)flags, (void)options;
  one->peer = two;
  two->peer = one;
  *first = driver_handle(one);
  *second = driver_handle(two);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_activate(IpczDriverHandle transport, IpczHandle listener,
                                           IpczTransportActivityHandler handler, uint32_t flags,
                                           const void* options) {
  struct Object* object = driver_object(transport);
  (void)flags, (void)options;
  driver_seen.activations++;
  if (driver_seen.fail_activate) return IPCZ_RESULT_UNKNOWN;
  driver_seen.last_listener = listener;
  driver_seen.last_handler = handler;
  object->listener = listener;
  object->handler = handler;
  driver_deliver(object);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_deactivate(IpczDriverHandle transport, uint32_t flags, const void* options) {
  struct Object* object = driver_object(transport);
  (void)flags, (void)options;
  driver_seen.deactivations++;
  object->stopping = 1;
  driver_deliver(object);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_transmit(IpczDriverHandle transport, const void* data, size_t num_bytes,
                                           const IpczDriverHandle* handles, size_t num_handles, uint32_t flags,
                                           const void* options) {
  struct Object* peer = driver_object(transport)->peer;
  struct Message* message;
  struct Message** end;
  (void)flags, (void)options;
  if (!peer || driver_seen.fail_transmit) {
    for (size_t i = 0; i < num_handles; ++i) driver_close(handles[i], 0, NULL);
    return driver_seen.fail_transmit ? IPCZ_RESULT_UNKNOWN : IPCZ_RESULT_OK;
  }
  message = (struct Message*)calloc(1, sizeof *message);
  message->data = malloc(num_bytes ? num_bytes : 1);
  message->num_bytes = num_bytes;
  memcpy(message->data, data, num_bytes);
  message->handles = (IpczDriverHandle*)malloc((num_handles ? num_handles : 1) * sizeof(IpczDriverHandle));
  message->num_handles = num_handles;
  if (num_handles) memcpy(message->handles, handles, num_handles * sizeof(IpczDriverHandle));
  end = &peer->queue;
  while (*end) end = &(*end)->next;
  *end = message;
  driver_deliver(peer);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_report(IpczDriverHandle transport, uintptr_t context, uint32_t flags,
                                         const void* options) {
  (void)flags, (void)options;
  driver_seen.reports++;
  driver_seen.reported = transport;
  driver_seen.context = context;
  return IPCZ_RESULT_UNKNOWN;
}

static IpczResult IPCZ_API driver_allocate(size_t num_bytes, uint32_t flags, const void* options,
                                           IpczDriverHandle* memory) {
  struct Object* object;
  (void)flags, (void)options;
  if (driver_seen.fail_allocate) return IPCZ_RESULT_RESOURCE_EXHAUSTED;
  object = driver_make(MEMORY);
  object->bytes = calloc(1, num_bytes);
  object->num_bytes = num_bytes;
  *memory = driver_handle(object);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_info(IpczDriverHandle memory, uint32_t flags, const void* options,
                                       struct IpczSharedMemoryInfo* info) {
  (void)flags, (void)options;
  if (driver_object(memory)->kind != MEMORY || !info || info->size < sizeof *info) return IPCZ_RESULT_INVALID_ARGUMENT;
  info->region_num_bytes = driver_object(memory)->num_bytes;
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_duplicate(IpczDriverHandle memory, uint32_t flags, const void* options,
                                            IpczDriverHandle* copy) {
  (void)flags, (void)options;
  driver_object(memory)->references++;
  *copy = memory;
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_map(IpczDriverHandle memory, uint32_t flags, const void* options,
                                      volatile void** address, IpczDriverHandle* mapping) {
  struct Object* object;
  (void)flags, (void)options;
  if (driver_object(memory)->kind != MEMORY) return IPCZ_RESULT_INVALID_ARGUMENT;
  object = driver_make(MAPPING);
  object->memory = driver_object(memory);
  object->memory->references++;
  *address = object->memory->bytes;
  *mapping = driver_handle(object);
  return IPCZ_RESULT_OK;
}

static IpczResult IPCZ_API driver_random(size_t num_bytes, uint32_t flags, const void* options, void* buffer) {
  (void)flags, (void)options;
  driver_seen.randoms++;
  if (driver_seen.fail_random) return IPCZ_RESULT_UNKNOWN;
  for (size_t i = 0; i < num_bytes; ++i) ((unsigned char*)buffer)[i] = (unsigned char)rand();
  return IPCZ_RESULT_OK;
}

/* The table. Not const, so that tests can spoil a copy. */
static struct IpczDriver driver_table(void) {
  struct IpczDriver table;
  memset(&table, 0, sizeof table);
  table.size = sizeof table;
  table.Close = driver_close;
  table.Serialize = driver_serialize;
  table.Deserialize = driver_deserialize;
  table.CreateTransports = driver_create_transports;
  table.ActivateTransport = driver_activate;
  table.DeactivateTransport = driver_deactivate;
  table.Transmit = driver_transmit;
  table.ReportBadTransportActivity = driver_report;
  table.AllocateSharedMemory = driver_allocate;
  table.GetSharedMemoryInfo = driver_info;
  table.DuplicateSharedMemory = driver_duplicate;
  table.MapSharedMemory = driver_map;
  table.GenerateRandomBytes = driver_random;
  return table;
}

#endif /* IPCZ_TESTS_C_DRIVER_H_ */
