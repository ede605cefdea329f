/* Two processes: this program starts itself once more, and the two talk.
 *
 *   scripts/c-library /tmp/ipcz
 *   cc -I/tmp/ipcz/include drivers/examples/ping_pong.c -L/tmp/ipcz/lib -Wl,-rpath,/tmp/ipcz/lib \
 *     -lipcz -lipcz_drivers -lpthread -o /tmp/ping_pong && /tmp/ping_pong
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipcz/drivers.h"
#include "ipcz/get_api.h"

#define CHECK(call)                                             \
  do {                                                          \
    IpczResult result_ = (call);                                \
    if (result_ != IPCZ_RESULT_OK) {                            \
      fprintf(stderr, "%s: result %d\n", #call, (int)result_);   \
      exit(1);                                                  \
    }                                                           \
  } while (0)

static struct IpczAPI ipcz;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int events;

static void IPCZ_API happened(const struct IpczTrapEvent* event) {
  (void)event;
  pthread_mutex_lock(&lock);
  events++;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

/* Gets the next parcel, waiting for it: its length, or -1 if there will never be one. */
static long receive(IpczHandle portal, char* data, size_t room) {
  for (;;) {
    size_t bytes = room;
    struct IpczTrapConditions conditions;
    IpczResult result = ipcz.Get(portal, IPCZ_NO_FLAGS, NULL, data, &bytes, NULL, NULL, NULL);
    if (result == IPCZ_RESULT_OK) return (long)bytes;
    if (result == IPCZ_RESULT_NOT_FOUND) return -1;
    memset(&conditions, 0, sizeof conditions);
    conditions.size = sizeof conditions;
    conditions.flags = IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS | IPCZ_TRAP_DEAD;
    events = 0;
    result = ipcz.Trap(portal, &conditions, happened, 0, IPCZ_NO_FLAGS, NULL, NULL, NULL);
    if (result == IPCZ_RESULT_FAILED_PRECONDITION) continue;
    CHECK(result);
    pthread_mutex_lock(&lock);
    while (!events) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
  }
}

static IpczHandle connected(int socket, int parent, IpczHandle* node) {
  IpczDriverHandle transport;
  IpczHandle portal;
  CHECK(ipcz.CreateNode(IpczUnixDriver(), parent ? IPCZ_CREATE_NODE_AS_BROKER : IPCZ_NO_FLAGS, NULL, node));
  CHECK(IpczUnixTransport(socket, &transport));
  CHECK(ipcz.ConnectNode(*node, transport, 1, parent ? IPCZ_NO_FLAGS : IPCZ_CONNECT_NODE_TO_BROKER, NULL, &portal));
  return portal;
}

int main(int argc, char** argv) {
  IpczHandle node, portal;
  char data[64];
  long bytes;
  ipcz.size = sizeof ipcz;
  CHECK(IpczGetAPI(&ipcz));
  if (argc == 2) {
    /* The child: whatever comes goes back, until the parent closes. */
    portal = connected(atoi(argv[1]), 0, &node);
    while ((bytes = receive(portal, data, sizeof data - 6)) >= 0) {
      memcpy(data + bytes, ", pong", 6);
      CHECK(ipcz.Put(portal, data, (size_t)bytes + 6, NULL, 0, IPCZ_NO_FLAGS, NULL));
    }
  } else {
    int ends[2], i, status;
    pid_t child;
    char number[16];
    char* arguments[3];
    char* environment[] = {NULL};
    CHECK(IpczUnixSocketPair(ends));
    /* The child inherits its end, and nothing else. */
    fcntl(ends[1], F_SETFD, 0);
    snprintf(number, sizeof number, "%d", ends[1]);
    arguments[0] = argv[0];
    arguments[1] = number;
    arguments[2] = NULL;
    if (posix_spawn(&child, argv[0], NULL, NULL, arguments, environment)) return perror(argv[0]), 1;
    close(ends[1]);
    portal = connected(ends[0], 1, &node);
    for (i = 1; i <= 3; ++i) {
      int length = snprintf(data, sizeof data, "ping %d", i);
      CHECK(ipcz.Put(portal, data, (size_t)length, NULL, 0, IPCZ_NO_FLAGS, NULL));
      bytes = receive(portal, data, sizeof data);
      printf("%.*s\n", (int)bytes, data);
    }
    CHECK(ipcz.Close(portal, IPCZ_NO_FLAGS, NULL));
    if (waitpid(child, &status, 0) != child || status) return fprintf(stderr, "the child failed\n"), 1;
    portal = 0;
  }
  if (portal) CHECK(ipcz.Close(portal, IPCZ_NO_FLAGS, NULL));
  CHECK(ipcz.Close(node, IPCZ_NO_FLAGS, NULL));
  return 0;
}
