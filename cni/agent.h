/* One question to the agent of this node: a line of JSON over its socket, answered by a line of JSON. */
#ifndef ORLOP_AGENT_H
#define ORLOP_AGENT_H

#include <stddef.h>

#define ANSWER_BYTES_MAX 4096

/* Milliseconds of a clock that nobody sets. */
long long now_ms(void);

enum asked {
  ANSWERED,
  /* Nobody answered: `answer` says why, in words. */
  UNANSWERED,
};

/*
 * Ask once, and wait until `deadline_ms` for the answer, which has no line feed at its end. An agent that is absent, that ends
 * before it has answered, or that answers more than fits is told from one that answers.
 */
enum asked ask_once(const char *socket_path, const char *question, size_t length, long long deadline_ms, char answer[ANSWER_BYTES_MAX]);

/* The same again and again until somebody answers: an agent that is being replaced is back in some seconds. */
enum asked ask_until(const char *socket_path, const char *question, size_t length, long long deadline_ms, char answer[ANSWER_BYTES_MAX]);

#endif
