/*
 * The CNI plugin of Orlop, last in the chain of a node's network: when the other plugins have made a pod's network, and before its first
 * process starts, it tells the agent of the node, and waits until the agent has captured the pod's traffic, or says that the pod takes no part.
 * It changes nothing itself.
 *
 * It fails closed: without an answer the pod is not started, and the kubelet tries again. What must start without an agent (the agent's own
 * namespace, kube-system) is named in its configuration.
 *
 * Source: CNI specification 1.1.0, and CONVENTIONS.md for the arguments of Kubernetes.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "json.h"

#define CONFIG_BYTES_MAX (256 * 1024)
#define QUESTION_BYTES_MAX 16384
/* Of a path or a name: an annotation of Kubernetes aside, nothing here is longer than a path. */
#define TEXT_BYTES_MAX 1024
#define ADDRESSES_MAX 16
#define SOCKET "/run/orlop/cni.sock"
/* Longer than an agent takes to be replaced, and much shorter than the four minutes a kubelet gives a sandbox. */
#define WAIT_MS 15000
#define WAIT_MS_MAX 120000
/* The agent is told of a pod's end for the sake of speed only. */
#define DEL_WAIT_MS 2000
/* By this much the agent is asked to answer sooner, so that what it says of a failure arrives. */
#define ANSWER_MARGIN_MS 500
#define LATEST "1.1.0"
/* Runtimes that know of it hand over the pod's annotations (containerd, CRI-O). */
#define ANNOTATIONS "io.kubernetes.cri.pod-annotations"
#define WISH "orlop.io/mesh"

/* CNI specification, section 5, "Error"; from 100 on they are the plugin's own. */
enum code { INCOMPATIBLE_VERSION = 1, INVALID_ENVIRONMENT = 4, IO_FAILURE = 5, DECODING_FAILURE = 6, INVALID_CONFIG = 7, TRY_AGAIN_LATER = 11, NOT_ENROLLED = 100 };

static const char *const VERSIONS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", LATEST};

/* What is written, to an agent or to the runtime. */
struct text {
  char bytes[QUESTION_BYTES_MAX];
  size_t length;
  bool is_cut;
};

struct call {
  /* The command never fails, whatever is wrong. */
  bool is_forgiving;
  struct json config;
  char version[32];
  struct json previous;
  const char *container;
  const char *netns;
  const char *interface;
  char namespace[TEXT_BYTES_MAX];
  char pod[TEXT_BYTES_MAX];
  char uid[TEXT_BYTES_MAX];
};

static char config_text[CONFIG_BYTES_MAX + 1];

static void put(struct text *text, const char *bytes)
{
  size_t length = strlen(bytes);
  if (text->is_cut || length > sizeof text->bytes - text->length) {
    text->is_cut = true;
    return;
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

/* As a string of JSON. What is not ASCII goes as it is: it has been checked, or is the runtime's. */
static void put_string(struct text *text, const char *value)
{
  put(text, "\"");
  for (; *value != '\0'; value++) {
    char escaped[8] = {*value};
    if (*value == '"' || *value == '\\') snprintf(escaped, sizeof escaped, "\\%c", *value);
    else if ((unsigned char)*value < 0x20) snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*value);
    put(text, escaped);
  }
  put(text, "\"");
}

static void put_field(struct text *text, const char *name, const char *value)
{
  if (text->bytes[text->length - 1] != '{') put(text, ",");
  put_string(text, name);
  put(text, ":");
  put_string(text, value);
}

/* False when the other end takes no more. */
static bool write_out(const char *bytes, size_t length)
{
  while (length > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, length);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) bytes += written, length -= (size_t)written;
  }
  return true;
}

/* The plugin's failure as the runtime shows it, on standard output; ends the program. */
static _Noreturn void fail(const struct call *call, enum code code, const char *message, const char *details)
{
  if (call->is_forgiving) exit(0);
  struct text text = {.length = 0};
  char number[32];
  snprintf(number, sizeof number, ",\"code\":%d", code);
  put(&text, "{\"cniVersion\":");
  put_string(&text, call->version);
  put(&text, number);
  put_field(&text, "msg", message);
  put_field(&text, "details", details);
  put(&text, "}\n");
  write_out(text.bytes, text.length);
  exit(1);
}

static const char *environment(const struct call *call, const char *name)
{
  const char *value = getenv(name);
  if (value == NULL || *value == '\0') fail(call, INVALID_ENVIRONMENT, "the runtime has not set a variable that CNI asks for", name);
  if (strlen(value) >= TEXT_BYTES_MAX) fail(call, INVALID_ENVIRONMENT, "a variable of the runtime is too long", name);
  return value;
}

/* The value of KEY=VALUE;KEY=VALUE;...; empty when there is none. */
static void argument(const struct call *call, const char *name, char to[TEXT_BYTES_MAX])
{
  const char *at = getenv("CNI_ARGS");
  size_t name_length = strlen(name);
  *to = '\0';
  while (at != NULL && *at != '\0') {
    size_t length = strcspn(at, ";");
    if (length > name_length && strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
      size_t value_length = length - name_length - 1;
      if (value_length >= TEXT_BYTES_MAX) fail(call, INVALID_ENVIRONMENT, "an argument in CNI_ARGS is too long", name);
      memcpy(to, at + name_length + 1, value_length);
      to[value_length] = '\0';
    }
    at += length + (at[length] == ';');
  }
}

static void read_config(struct call *call)
{
  size_t used = 0;
  for (;;) {
    ssize_t bytes = read(STDIN_FILENO, config_text + used, sizeof config_text - used);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) fail(call, IO_FAILURE, "the network configuration cannot be read", strerror(errno));
    if (bytes == 0) break;
    used += (size_t)bytes;
    if (used > CONFIG_BYTES_MAX) fail(call, INVALID_CONFIG, "the network configuration is too long", "it has more than 256 KiB");
  }
  const char *fault = json_read(config_text, used, &call->config);
  if (fault != NULL) fail(call, DECODING_FAILURE, "the network configuration is not JSON", fault);
  if (!json_is_object(call->config)) fail(call, DECODING_FAILURE, "the network configuration is not an object", "");
  char version[sizeof call->version];
  if (!json_string(json_field(call->config, "cniVersion"), version, sizeof version)) fail(call, INVALID_CONFIG, "the network configuration has no cniVersion", "");
  strcpy(call->version, version);
}

static void check_version(const struct call *call)
{
  for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) if (strcmp(VERSIONS[i], call->version) == 0) return;
  fail(call, INCOMPATIBLE_VERSION, "orlop-cni does not know this version of CNI; it knows 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0", call->version);
}

/* The plugin is no network by itself: its result is what the plugins before it have made. */
static void read_previous(struct call *call)
{
  call->previous = json_field(call->config, "prevResult");
  if (!json_is_object(call->previous)) fail(call, INVALID_CONFIG, "orlop-cni must come after the plugins that make the network: there is no prevResult", "");
}

static void read_pod(struct call *call)
{
  call->container = environment(call, "CNI_CONTAINERID");
  call->interface = environment(call, "CNI_IFNAME");
  argument(call, "K8S_POD_NAMESPACE", call->namespace);
  argument(call, "K8S_POD_NAME", call->pod);
  argument(call, "K8S_POD_UID", call->uid);
}

static bool is_excluded(const struct call *call)
{
  struct json list = json_field(call->config, "excludeNamespaces");
  struct json item;
  for (size_t i = 0; (item = json_item(list, i)).length > 0; i++) {
    char namespace[TEXT_BYTES_MAX];
    if (json_string(item, namespace, sizeof namespace) && strcmp(namespace, call->namespace) == 0) return true;
  }
  return false;
}

/* The pod itself says that it takes no part, which nothing overrules: no agent need be asked. */
static bool has_declined(const struct call *call)
{
  char wish[16];
  struct json annotations = json_field(json_field(call->config, "runtimeConfig"), ANNOTATIONS);
  return json_string(json_field(annotations, WISH), wish, sizeof wish) && strcmp(wish, "disabled") == 0;
}

/* Does this address of the result belong to the pod's interface that is being made? One that names none does. */
static bool is_of_interface(const struct call *call, struct json address)
{
  long index;
  char name[64];
  if (!json_count(json_field(address, "interface"), 1024, &index)) return true;
  struct json interface = json_item(json_field(call->previous, "interfaces"), (size_t)index);
  return !json_string(json_field(interface, "name"), name, sizeof name) || strcmp(name, call->interface) == 0;
}

static void put_addresses(struct text *text, const struct call *call)
{
  struct json addresses = json_field(call->previous, "ips");
  struct json address;
  const char *separator = "";
  put(text, ",\"addresses\":[");
  for (size_t i = 0; i < ADDRESSES_MAX && (address = json_item(addresses, i)).length > 0; i++) {
    char cidr[64];
    if (!is_of_interface(call, address) || !json_string(json_field(address, "address"), cidr, sizeof cidr)) continue;
    cidr[strcspn(cidr, "/")] = '\0';
    put(text, separator);
    put_string(text, cidr);
    separator = ",";
  }
  put(text, "]");
}

static void put_question(struct text *text, const struct call *call, const char *command)
{
  put(text, "{");
  put_field(text, "command", command);
  put_field(text, "containerId", call->container);
  put_field(text, "namespace", call->namespace);
  put_field(text, "name", call->pod);
  put_field(text, "uid", call->uid);
}

static const char *socket_path(const struct call *call)
{
  static char path[TEXT_BYTES_MAX];
  return json_string(json_field(call->config, "socket"), path, sizeof path) ? path : SOCKET;
}

/* What the agent says, as the outcome of the ADD. */
static void take_answer(const struct call *call, const char *answer)
{
  char result[16];
  char reason[TEXT_BYTES_MAX];
  struct json value;
  const char *fault = json_read(answer, strlen(answer), &value);
  if (fault == NULL && !json_string(json_field(value, "result"), result, sizeof result)) fault = "it has no result";
  if (fault != NULL) fail(call, TRY_AGAIN_LATER, "the answer of the Orlop agent cannot be understood", fault);
  if (strcmp(result, "ok") == 0) return;
  if (!json_string(json_field(value, "reason"), reason, sizeof reason)) strcpy(reason, "the agent does not say why");
  fail(call, NOT_ENROLLED, "the pod cannot be enrolled in the Orlop mesh", reason);
}

static void ask_to_enrol(struct call *call)
{
  call->netns = environment(call, "CNI_NETNS");
  struct json configured = json_field(call->config, "waitMs");
  long wait_ms = WAIT_MS;
  if (configured.length > 0 && !json_count(configured, WAIT_MS_MAX, &wait_ms)) fail(call, INVALID_CONFIG, "waitMs is no number of milliseconds up to 120000", "");
  long long deadline_ms = now_ms() + wait_ms;
  char number[48];
  struct text question = {.length = 0};
  put_question(&question, call, "ADD");
  put_field(&question, "netns", call->netns);
  put_addresses(&question, call);
  snprintf(number, sizeof number, ",\"waitMs\":%ld}\n", wait_ms > 2 * ANSWER_MARGIN_MS ? wait_ms - ANSWER_MARGIN_MS : wait_ms / 2);
  put(&question, number);
  if (question.is_cut) fail(call, INVALID_ENVIRONMENT, "what the runtime says of the pod is too long", "");
  char answer[ANSWER_BYTES_MAX];
  if (ask_until(socket_path(call), question.bytes, question.length, deadline_ms, answer) == UNANSWERED) {
    char message[128];
    snprintf(message, sizeof message, "no Orlop agent has answered on this node within %ld ms; the pod is held back until one does", wait_ms);
    fail(call, TRY_AGAIN_LATER, message, answer);
  }
  take_answer(call, answer);
}

static int add(struct call *call)
{
  read_config(call);
  check_version(call);
  read_previous(call);
  read_pod(call);
  /* Not started by Kubernetes, or not to be asked about. */
  bool is_free = *call->pod == '\0' || is_excluded(call) || has_declined(call);
  if (!is_free) ask_to_enrol(call);
  return write_out(call->previous.at, call->previous.length) ? 0 : 1;
}

/* The agent looks after what it has made by itself; here it is only whether the plugin has its place. */
static int check(struct call *call)
{
  read_config(call);
  check_version(call);
  read_previous(call);
  return 0;
}

/* A pod's end is never held up: an agent that is away finds out by itself. */
static int del(struct call *call)
{
  read_config(call);
  read_pod(call);
  if (*call->pod == '\0' || is_excluded(call)) return 0;
  struct text question = {.length = 0};
  char answer[ANSWER_BYTES_MAX];
  put_question(&question, call, "DEL");
  put(&question, "}\n");
  if (!question.is_cut) ask_once(socket_path(call), question.bytes, question.length, now_ms() + DEL_WAIT_MS, answer);
  return 0;
}

/* Also without an agent there are pods that can be started, so it is never the plugin that makes a node unready. */
static int status(struct call *call)
{
  read_config(call);
  check_version(call);
  return 0;
}

static int version(struct call *call)
{
  struct text text = {.length = 0};
  put(&text, "{\"cniVersion\":");
  put_string(&text, call->version);
  put(&text, ",\"supportedVersions\":[");
  for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
    if (i > 0) put(&text, ",");
    put_string(&text, VERSIONS[i]);
  }
  put(&text, "]}\n");
  return write_out(text.bytes, text.length) ? 0 : 1;
}

int main(void)
{
  static const struct {
    const char *name;
    int (*run)(struct call *call);
    bool is_forgiving;
  } commands[] = {{"ADD", add, false}, {"CHECK", check, false}, {"DEL", del, true}, {"STATUS", status, false}, {"GC", status, true}, {"VERSION", version, false}};
  struct call call = {.version = LATEST};
  const char *command = environment(&call, "CNI_COMMAND");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(commands[i].name, command) != 0) continue;
    call.is_forgiving = commands[i].is_forgiving;
    return commands[i].run(&call);
  }
  fail(&call, INVALID_ENVIRONMENT, "CNI_COMMAND is none of ADD, CHECK, DEL, STATUS, GC and VERSION", "");
}
