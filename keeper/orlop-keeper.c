/*
 * orlop-keeper keeps copies of the listening sockets of the agent beside it. An agent that is killed leaves them open that way: clients
 * are not refused, but wait until the next agent has asked for the sockets, and accepts them. It accepts nothing itself.
 *
 *   orlop-keeper SOCKET
 *
 * One message is one packet; sockets travel beside it.
 *   agent -> keeper   K name, with sockets   keep these in the place of those of that name
 *                     F name                 close those of that name
 *                     T                      which are there?
 *                     S                      that was all: close what was not kept by this connection
 *                     C                      close everything
 *   keeper -> agent   K name, with sockets   of each name; they are kept all the same
 *                     E                      that was all
 *
 * A copy beside a socket that an agent opened anew is worse than none: the kernel gives it its share of the clients, and nobody accepts them. So
 * agents say what is no longer theirs, and when none comes the keeper closes what it has (ORPHAN_MS): clients must not wait for ever either.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"

/* Many times what a kubelet lets run on a node. */
#define ENTRIES_MAX 4096
/* A kubelet starts an agent again after a second or two, and after ten when it has been killed shortly before. */
#define ORPHAN_MS 30000
/* An agent that does not read what it has asked for. */
#define SEND_TIMEOUT_S 2
/* When no connection can be accepted for want of descriptors or memory. */
#define ACCEPT_PAUSE_MS 100

enum { KEEP = 'K', FORGET = 'F', TAKE = 'T', SETTLE = 'S', CLEAR = 'C', END = 'E' };

/* Sockets of a pod, or of a port of a gateway. */
struct entry {
  /* That kept them. */
  unsigned long connection;
  char name[PACKET_BYTES_MAX];
  size_t name_length;
  int *fds;
  size_t fd_count;
};

static struct entry *entries[ENTRIES_MAX];
static size_t entry_count;
/* Counts those of agents. */
static unsigned long connection;
static const char *path;

/* Pino's numbers, as the agent has them. */
#define INFO "30"
#define WARN "40"
#define FATAL "60"

/* One JSON object a line, as the agent has it. `format` and its arguments hold no quotes. */
__attribute__((format(printf, 2, 3))) static void tell(const char *level, const char *format, ...)
{
  char when[32];
  time_t now = time(NULL);
  struct tm parts;
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
  fprintf(stderr, "{\"level\":%s,\"time\":\"%s\",\"scope\":\"keeper\",\"msg\":\"", level, when);
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputs("\"}\n", stderr);
}

__attribute__((noreturn)) static void give_up(const char *what)
{
  tell(FATAL, "%s: %s", what, strerror(errno));
  exit(1);
}

static struct entry **find(const char *name, size_t length)
{
  for (size_t i = 0; i < entry_count; i++)
    if (entries[i]->name_length == length && memcmp(entries[i]->name, name, length) == 0) return &entries[i];
  return NULL;
}

static void forget(struct entry **place)
{
  struct entry *entry = *place;
  close_all(entry->fds, entry->fd_count);
  free(entry->fds);
  free(entry);
  *place = entries[--entry_count];
}

static void forget_all(void)
{
  while (entry_count > 0) forget(&entries[entry_count - 1]);
}

static void settle(void)
{
  for (size_t i = entry_count; i > 0; i--)
    if (entries[i - 1]->connection != connection) forget(&entries[i - 1]);
}

/* Once. */
static void tell_full(void)
{
  static bool is_told;
  if (!is_told) tell(WARN, "no room for more than these pods and ports of gateways: %zu; of others, connections are refused while no agent runs", entry_count);
  is_told = true;
}

/* The packet's descriptors are this entry's from now on. */
static void keep(const struct packet *packet)
{
  const char *name = packet->bytes + 1;
  size_t length = packet->length - 1;
  struct entry **known = find(name, length);
  if (known != NULL) forget(known);
  if (packet->fd_count == 0) return;
  struct entry *entry = entry_count < ENTRIES_MAX ? calloc(1, sizeof *entry) : NULL;
  int *fds = calloc(packet->fd_count, sizeof *fds);
  if (entry == NULL || fds == NULL) {
    free(entry);
    free(fds);
    close_all(packet->fds, packet->fd_count);
    tell_full();
    return;
  }
  entry->connection = connection;
  memcpy(entry->name, name, length);
  entry->name_length = length;
  memcpy(fds, packet->fds, packet->fd_count * sizeof *fds);
  entry->fds = fds;
  entry->fd_count = packet->fd_count;
  entries[entry_count++] = entry;
}

/* False when the agent does not take them. */
static bool give_all(int agent)
{
  struct packet packet;
  for (size_t i = 0; i < entry_count; i++) {
    const struct entry *entry = entries[i];
    packet.bytes[0] = KEEP;
    memcpy(packet.bytes + 1, entry->name, entry->name_length);
    packet.length = 1 + entry->name_length;
    memcpy(packet.fds, entry->fds, entry->fd_count * sizeof *packet.fds);
    packet.fd_count = entry->fd_count;
    if (!send_packet(agent, &packet)) return false;
  }
  packet.bytes[0] = END;
  packet.length = 1;
  packet.fd_count = 0;
  return send_packet(agent, &packet);
}

/* False when the agent is gone, or is none. */
static bool hear(int agent)
{
  struct packet packet;
  enum received received = receive_packet(agent, &packet);
  if (received == LATER) return true;
  if (received == ENDED) return false;
  if (received == TOO_LONG) {
    tell(WARN, "a message that is too long; the agent is asked to begin anew");
    return false;
  }
  if (received == INCOMPLETE) tell_full();
  if (packet.bytes[0] == KEEP) {
    keep(&packet);
    return true;
  }
  close_all(packet.fds, packet.fd_count);
  if (packet.bytes[0] == TAKE) return give_all(agent);
  if (packet.bytes[0] == FORGET) {
    struct entry **known = find(packet.bytes + 1, packet.length - 1);
    if (known != NULL) forget(known);
    return true;
  }
  if (packet.bytes[0] == SETTLE) {
    settle();
    return true;
  }
  if (packet.bytes[0] == CLEAR) {
    forget_all();
    return true;
  }
  tell(WARN, "a message of a kind that is not known; the agent is asked to begin anew");
  return false;
}

/*
 * Root, and of this network namespace: a pod that runs as root, and has the node's directory mounted, is not. The kernel makes the accepted end in the
 * namespace of the socket that connected (unix_stream_connect).
 */
static bool is_agent(int agent, int listener)
{
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(agent, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.uid != 0) return false;
  unsigned long long theirs = 0;
  unsigned long long ours = 0;
  length = sizeof theirs;
  if (getsockopt(agent, SOL_SOCKET, SO_NETNS_COOKIE, &theirs, &length) != 0) return false;
  length = sizeof ours;
  return getsockopt(listener, SOL_SOCKET, SO_NETNS_COOKIE, &ours, &length) == 0 && theirs == ours;
}

/* -1: none has come after all. */
static int accept_agent(int listener)
{
  int agent = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (agent < 0) {
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) nanosleep(&(struct timespec){0, ACCEPT_PAUSE_MS * 1000000L}, NULL);
    return -1;
  }
  struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
  if (is_agent(agent, listener) && setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0) return agent;
  tell(WARN, "somebody who is not an agent was turned away");
  close(agent);
  return -1;
}

/* Under its name only when it listens: whoever finds a name that nobody listens at takes it for that of a keeper that was killed. */
static int listen_at(void)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
  if (length < 0 || (size_t)length >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    give_up("the path of the socket");
  }
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) give_up("socket");
  umask(0177);
  unlink(address.sun_path);
  if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0 || rename(address.sun_path, path) != 0) give_up("the socket could not be made");
  return listener;
}

static long long now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

__attribute__((noreturn)) static void serve(int listener)
{
  int agent = -1;
  long long orphaned_ms = 0;
  for (;;) {
    struct pollfd waiting[] = {{listener, POLLIN, 0}, {agent, POLLIN, 0}};
    bool is_orphan = agent < 0 && entry_count > 0;
    long long left_ms = orphaned_ms + ORPHAN_MS - now_ms();
    if (is_orphan && left_ms <= 0) {
      tell(WARN, "no agent came within %d s: connections are refused from now on (pods and ports of gateways: %zu)", ORPHAN_MS / 1000, entry_count);
      forget_all();
      continue;
    }
    int ready = poll(waiting, 2, is_orphan ? (int)left_ms : -1);
    if (ready < 0 && errno != EINTR) give_up("poll");
    if (ready <= 0) continue;
    /* What the agent has said counts before the next one is heard. */
    if (waiting[1].revents != 0) {
      if (hear(agent)) continue;
      close(agent);
      agent = -1;
      orphaned_ms = now_ms();
      if (entry_count > 0) tell(INFO, "the agent is gone; connections wait for the next one (pods and ports of gateways: %zu)", entry_count);
      continue;
    }
    int next = accept_agent(listener);
    if (next < 0) continue;
    /* Whoever comes later knows more: an agent does so that was started again, or one that takes its place. */
    if (agent >= 0) close(agent);
    agent = next;
    connection++;
  }
}

static void end(int number)
{
  (void)number;
  unlink(path);
  _exit(0);
}

int main(int argc, char **argv)
{
  if (argc != 2) {
    fputs("usage: orlop-keeper SOCKET\n", stderr);
    return 64;
  }
  path = argv[1];
  /* Each line in one piece: the agent may write to the same file. */
  setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
  signal(SIGTERM, end);
  signal(SIGINT, end);
  signal(SIGPIPE, SIG_IGN);
  /* Another process of the same user must not take the sockets out of this one (ptrace(2), pidfd_getfd(2)). */
  if (prctl(PR_SET_DUMPABLE, 0) != 0) give_up("prctl");
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  serve(listen_at());
}
