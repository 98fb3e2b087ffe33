#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 100

long long now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static enum asked unanswered(char answer[ANSWER_BYTES_MAX], const char *what, const char *why)
{
  snprintf(answer, ANSWER_BYTES_MAX, "%s: %s", what, why);
  return UNANSWERED;
}

/* False when the deadline has passed first. */
static bool wait_for(int fd, short events, long long deadline_ms)
{
  struct pollfd waiting = {fd, events, 0};
  for (;;) {
    long long left = deadline_ms - now_ms();
    int ready = poll(&waiting, 1, left > 0 ? (int)left : 0);
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) return false;
  }
}

static bool send_all(int fd, const char *bytes, size_t length, long long deadline_ms)
{
  while (length > 0) {
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes += sent;
      length -= (size_t)sent;
    } else if (errno == EAGAIN ? !wait_for(fd, POLLOUT, deadline_ms) : errno != EINTR) return false;
  }
  return true;
}

static enum asked receive_line(int fd, long long deadline_ms, char answer[ANSWER_BYTES_MAX])
{
  size_t used = 0;
  while (used < ANSWER_BYTES_MAX) {
    if (!wait_for(fd, POLLIN, deadline_ms)) return unanswered(answer, "the agent", "it has been asked and did not answer in time");
    ssize_t received = recv(fd, answer + used, ANSWER_BYTES_MAX - used, 0);
    if (received < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (received <= 0) return unanswered(answer, "the agent", "it ended before it had answered");
    char *end = memchr(answer + used, '\n', (size_t)received);
    used += (size_t)received;
    if (end == NULL) continue;
    *end = '\0';
    return ANSWERED;
  }
  return unanswered(answer, "the agent", "its answer is too long");
}

enum asked ask_once(const char *socket_path, const char *question, size_t length, long long deadline_ms, char answer[ANSWER_BYTES_MAX])
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(socket_path) >= sizeof address.sun_path) return unanswered(answer, socket_path, "the path of the socket is too long");
  strcpy(address.sun_path, socket_path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return unanswered(answer, "socket", strerror(errno));
  enum asked asked;
  /* A unix socket is connected at once, or not at all (EAGAIN: its backlog is full). */
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) asked = unanswered(answer, socket_path, strerror(errno));
  else if (!send_all(fd, question, length, deadline_ms)) asked = unanswered(answer, socket_path, "the agent did not take the question");
  else asked = receive_line(fd, deadline_ms, answer);
  close(fd);
  return asked;
}

enum asked ask_until(const char *socket_path, const char *question, size_t length, long long deadline_ms, char answer[ANSWER_BYTES_MAX])
{
  for (;;) {
    if (ask_once(socket_path, question, length, deadline_ms, answer) == ANSWERED) return ANSWERED;
    if (now_ms() + RETRY_MS >= deadline_ms) return UNANSWERED;
    nanosleep(&(struct timespec){0, RETRY_MS * 1000000L}, NULL);
  }
}
