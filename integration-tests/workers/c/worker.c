/* A worker in C, from protocol/SPEC.md alone: POSIX, C11, no library.
 *
 *     cc -O2 -Wall -Wextra -o worker worker.c        (with -pthread where libc is older)
 *     master map --worker ./worker square 2 3
 *
 * For a worker of one's own: write functions like `square`, and name them in `functions`. What is
 * below them needs no change. The numbers W-... are those of the requirements in SPEC.md. */

#define _GNU_SOURCE /* for POLLRDHUP, where there is such a thing */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { NORMAL = 0, FAILED = 1, USAGE = 2, PROTOCOL = 76 }; /* exit statuses */
enum { LIMIT = 1 << 30, TEXT_LIMIT = 1 << 20 };           /* bytes */
enum { ENVELOPE_LEVELS = 16, LEVELS = 512, ARGUMENTS = 3 };

static _Noreturn void leave(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("worker: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

/* W-36: nothing of the frame has run by then, and what was answered is written. */
static _Noreturn void malformed(const char *expected, const char *found) {
    leave(PROTOCOL, "the master broke the protocol: expected %s, found %s", expected, found);
}

/* ---- Writing MessagePack ---------------------------------------------------------------- */

struct buffer {
    uint8_t *bytes;
    size_t length, room;
};

static void put(struct buffer *out, const void *bytes, size_t length) {
    if (out->room - out->length < length) {
        out->room = 2 * out->room > out->length + length ? 2 * out->room : out->length + length;
        out->bytes = realloc(out->bytes, out->room);
        if (!out->bytes) leave(PROTOCOL, "no memory for %zu bytes", out->room);
    }
    if (length) memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

/* The head of a value: one byte for less than `few`, otherwise `wide` or one of those behind it,
 * and as many bytes as the number needs. */
static void put_head(struct buffer *out, uint64_t number, uint64_t few, int fixed, int wide) {
    int power = number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
    int size = number < few ? 0 : 1 << power;
    uint8_t bytes[9] = { (uint8_t)(size == 0 ? fixed | (int)number : wide + power) };
    for (int i = size; i > 0; i--, number >>= 8) bytes[i] = (uint8_t)number;
    put(out, bytes, 1 + (size_t)size);
}

static void put_unsigned(struct buffer *out, uint64_t n) { put_head(out, n, 0x80, 0, 0xcc); }
static void put_string_head(struct buffer *out, size_t n) { put_head(out, n, 0x20, 0xa0, 0xd9); }
static void put_array(struct buffer *out, unsigned few) { put_head(out, few, 0x10, 0x90, 0); }
static void put_map(struct buffer *out, unsigned few) { put_head(out, few, 0x10, 0x80, 0); }
static void put_nil(struct buffer *out) { put(out, "\xc0", 1); }

static void put_text(struct buffer *out, const void *text, size_t length) {
    put_string_head(out, length);
    put(out, text, length);
}
static void put_string(struct buffer *out, const char *text) { put_text(out, text, strlen(text)); }

/* ---- Reading MessagePack ---------------------------------------------------------------- */

enum kind { ABSENT, NIL, BOOLEAN, INTEGER, FLOAT, STRING, BINARY, ARRAY, MAP, EXTENSION };
static const char *const kind_names[] = {
    "nothing", "nil", "a boolean", "an integer", "a float", "a string", "binary data", "an array",
    "a map", "an extension type",
};

struct value {
    enum kind kind;
    bool negative;              /* an integer below 0, its bits in `number` */
    uint64_t number;            /* an integer, or how many bytes, values or pairs there are */
    double real;                /* a float */
    const uint8_t *content;     /* of a string or binary data */
    const uint8_t *start, *end; /* the value as it is encoded */
};

struct reader {
    const uint8_t *at, *end;
};

static uint64_t take_number(struct reader *in, int size) {
    if (in->end - in->at < size) malformed("more of a value", "the end of the frame");
    uint64_t number = 0;
    while (size-- > 0) number = number << 8 | *in->at++;
    return number;
}

/* A value without what is inside of an array or a map. */
static struct value take_head(struct reader *in) {
    struct value value = { .start = in->at };
    int byte = (int)take_number(in, 1);
#define IS(k, n) (value.kind = (k), value.number = (n))
    if (byte <= 0x7f) IS(INTEGER, (uint64_t)byte);
    else if (byte <= 0x8f) IS(MAP, byte & 0x0f);
    else if (byte <= 0x9f) IS(ARRAY, byte & 0x0f);
    else if (byte <= 0xbf) IS(STRING, byte & 0x1f);
    else if (byte == 0xc0) IS(NIL, 0);
    else if (byte == 0xc1) malformed("a value", "the byte c1");
    else if (byte <= 0xc3) IS(BOOLEAN, byte & 1);
    else if (byte <= 0xc6) IS(BINARY, take_number(in, 1 << (byte - 0xc4)));
    else if (byte <= 0xc9) IS(EXTENSION, take_number(in, 1 << (byte - 0xc7)) + 1);
    else if (byte <= 0xcb) IS(FLOAT, take_number(in, 4 << (byte - 0xca)));
    else if (byte <= 0xcf) IS(INTEGER, take_number(in, 1 << (byte - 0xcc)));
    else if (byte <= 0xd3) {
        int size = 1 << (byte - 0xd0);
        IS(INTEGER, take_number(in, size));
        value.negative = value.number >> (8 * size - 1);
        if (value.negative && size < 8) value.number |= UINT64_MAX << 8 * size;
    } else if (byte <= 0xd8) IS(EXTENSION, (1u << (byte - 0xd4)) + 1);
    else if (byte <= 0xdb) IS(STRING, take_number(in, 1 << (byte - 0xd9)));
    else if (byte <= 0xdd) IS(ARRAY, take_number(in, 2 << (byte - 0xdc)));
    else if (byte <= 0xdf) IS(MAP, take_number(in, 2 << (byte - 0xde)));
    else IS(INTEGER, (uint64_t)(byte - 0x100)), value.negative = true;
#undef IS
    if (byte == 0xca) {
        uint32_t bits = (uint32_t)value.number;
        float real;
        memcpy(&real, &bits, sizeof real);
        value.real = real;
    } else if (byte == 0xcb) memcpy(&value.real, &value.number, sizeof value.real);
    if (value.kind == STRING || value.kind == BINARY || value.kind == EXTENSION) {
        if ((uint64_t)(in->end - in->at) < value.number)
            malformed("more of a value", "the end of the frame");
        value.content = in->at;
        in->at += value.number;
    }
    value.end = in->at;
    return value;
}

/* A value with all that is inside of it, which may be so many levels. */
static struct value take(struct reader *in, int levels, bool envelope) {
    struct value value = take_head(in);
    bool map = value.kind == MAP;
    if (envelope && (value.kind == FLOAT || value.kind == BINARY || value.kind == EXTENSION))
        malformed("a value that an envelope may hold", kind_names[value.kind]);
    if (!map && value.kind != ARRAY) return value;
    if (levels == 0) malformed("a value of fewer levels", "another level");
    for (uint64_t i = 0; i < value.number; i++) {
        struct value inner = take(in, levels - 1, envelope);
        if (!map) continue;
        if (envelope && inner.kind != STRING)
            malformed("a string as a key", kind_names[inner.kind]);
        take(in, levels - 1, envelope);
    }
    value.end = in->at;
    return value;
}

static struct reader inside(const struct value *value) {
    struct reader in = { value->start, value->end };
    take_head(&in);
    return in;
}

static bool equals(const struct value *text, const char *other) {
    return text->number == strlen(other) && memcmp(text->content, other, text->number) == 0;
}

static bool is_utf8(const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        int byte = *at++, more = byte < 0x80 ? 0 : byte < 0xc2 ? -1 : byte < 0xe0 ? 1
                                 : byte < 0xf0 ? 2 : byte < 0xf5 ? 3 : -1;
        if (more < 0 || end - at < more) return false;
        /* Neither a longer form than need be, nor half a pair, nor beyond the last character. */
        if ((byte == 0xe0 && *at < 0xa0) || (byte == 0xed && *at > 0x9f)) return false;
        if ((byte == 0xf0 && *at < 0x90) || (byte == 0xf4 && *at > 0x8f)) return false;
        for (; more > 0; more--)
            if ((*at++ & 0xc0) != 0x80) return false;
    }
    return true;
}

static bool is_text(const struct value *value) {
    return value->kind == STRING && is_utf8(value->content, value->end);
}

/* ---- Functions -------------------------------------------------------------------------- */

/* A function puts its result behind what is in `out`, or gives `fail(...)`. Of its arguments those
 * that are missing are `ABSENT`. */
typedef bool function(const struct value *arguments, struct buffer *out);

static struct buffer kind, message; /* of the failure */

/* W-34: no text of a failure is longer than anybody wants to read. */
static void append_text(struct buffer *text, const uint8_t *bytes, size_t length) {
    size_t room = TEXT_LIMIT - text->length;
    if (length > room)
        for (length = room; length > 0 && (bytes[length] & 0xc0) == 0x80;) length--;
    put(text, bytes, length);
}

static bool fail(const char *what, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    kind.length = message.length = 0;
    append_text(&kind, (const uint8_t *)what, strlen(what));
    append_text(&message, (const uint8_t *)text, strlen(text));
    return false;
}

static bool unfit(int position, const char *expected, const struct value *found) {
    return fail("InvalidArguments", "argument %d: expected %s, found %s", position, expected,
                kind_names[found->kind]);
}

static bool is_count(const struct value *value) {
    return value->kind == INTEGER && !value->negative;
}

static bool square(const struct value *arguments, struct buffer *out) {
    const struct value *n = &arguments[0];
    if (n->kind != INTEGER) return unfit(1, "an integer", n);
    uint64_t size = n->negative ? 0 - n->number : n->number;
    if (size > UINT32_MAX) return fail("Overflow", "the square does not fit 64 bits");
    put_unsigned(out, size * size);
    return true;
}

/* The conformance functions, section 23. */

static bool echo(const struct value *arguments, struct buffer *out) {
    put(out, arguments[0].start, (size_t)(arguments[0].end - arguments[0].start));
    return true;
}

static bool fail_so(const struct value *arguments, struct buffer *out) {
    const struct value *text = &arguments[0], *name = &arguments[1], *times = &arguments[2];
    (void)out;
    if (!is_text(text)) return unfit(1, "a text", text);
    if (name->kind > NIL && !is_text(name)) return unfit(2, "a text", name);
    if (times->kind > NIL && !is_count(times)) return unfit(3, "a number of times", times);
    fail("Error", "%s", "");
    if (name->kind > NIL) kind.length = 0, append_text(&kind, name->content, name->number);
    uint64_t count = times->kind > NIL ? times->number : 1;
    while (count-- > 0 && text->number > 0) {
        size_t before = message.length;
        append_text(&message, text->content, text->number);
        if (message.length - before < text->number) break;
    }
    return false;
}

/* C has no panics; this is what comes nearest that the worker survives (W-30). */
static bool panic(const struct value *arguments, struct buffer *out) {
    const struct value text[ARGUMENTS] = { arguments[0] };
    fail_so(text, out);
    if (is_text(&text[0])) kind.length = 0, append_text(&kind, (const uint8_t *)"Panic", 5);
    return false;
}

static bool wait_for(int position, const struct value *seconds) {
    double real = seconds->kind == INTEGER && !seconds->negative ? (double)seconds->number
                  : seconds->kind == FLOAT ? seconds->real : -1;
    if (!(real >= 0)) return unfit(position, "a number of seconds from 0", seconds);
    if (real > 1e9) real = 1e9;
    struct timespec left = { .tv_sec = (time_t)real };
    left.tv_nsec = (long)((real - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {}
    return true;
}

static bool sleep_for(const struct value *arguments, struct buffer *out) {
    if (!wait_for(1, &arguments[0])) return false;
    if (arguments[1].kind == ABSENT) return put_nil(out), true;
    return echo(&arguments[1], out);
}

static bool spawn(const struct value *arguments, struct buffer *out) {
    const struct value *seconds = &arguments[0];
    if (!is_count(seconds)) return unfit(1, "a number of seconds", seconds);
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, seconds->number);
    char *command[] = { "sleep", text, NULL };
    pid_t child;
    int error = posix_spawnp(&child, command[0], NULL, NULL, command, environ);
    if (error) return fail("Unable", "cannot run sleep: %s", strerror(error));
    put_unsigned(out, (uint64_t)child);
    return true;
}

static bool print(const struct value *arguments, struct buffer *out) {
    const struct value *text = &arguments[0];
    if (text->kind != STRING) return unfit(1, "a text", text);
    FILE *const streams[] = { stdout, stderr };
    for (int i = 0; i < 2; i++) {
        fwrite(text->content, 1, text->number, streams[i]);
        fputc('\n', streams[i]);
        fflush(streams[i]);
    }
    put_nil(out);
    return true;
}

static bool environment(const struct value *arguments, struct buffer *out) {
    const struct value *name = &arguments[0];
    if (name->kind != STRING) return unfit(1, "a text", name);
    char *copy = strndup((const char *)name->content, name->number);
    const char *found = copy && strlen(copy) == name->number ? getenv(copy) : NULL;
    free(copy);
    if (!found) return put_nil(out), true;
    const uint8_t *bytes = (const uint8_t *)found;
    if (!is_utf8(bytes, bytes + strlen(found))) return fail("NotText", "it is not UTF-8");
    put_string(out, found);
    return true;
}

static struct buffer remembered;

static bool remember(const struct value *arguments, struct buffer *out) {
    remembered.length = 0;
    put_nil(out);
    return echo(arguments, &remembered);
}

static bool recall(const struct value *arguments, struct buffer *out) {
    (void)arguments;
    if (remembered.length == 0) put_nil(out);
    put(out, remembered.bytes, remembered.length);
    return true;
}

static bool nest(const struct value *arguments, struct buffer *out) {
    const struct value *levels = &arguments[0];
    if (!is_count(levels)) return unfit(1, "a number of levels", levels);
    if (levels->number > LEVELS) return fail("InvalidResult", "it has over %d levels", LEVELS);
    if (levels->number == 0) return put_nil(out), true;
    for (uint64_t level = 1; level < levels->number; level++) put_array(out, 1);
    put_array(out, 0);
    return true;
}

static bool repeat(const struct value *arguments, struct buffer *out) {
    const struct value *text = &arguments[0], *times = &arguments[1];
    if (!is_text(text)) return unfit(1, "a text", text);
    if (!is_count(times)) return unfit(2, "a number of times", times);
    if (text->number > 0 && times->number > LIMIT / text->number)
        return fail("InvalidResult", "the result does not fit a frame");
    put_string_head(out, text->number * times->number);
    for (uint64_t i = 0; text->number > 0 && i < times->number; i++)
        put(out, text->content, text->number);
    return true;
}

static bool tick(const struct value *arguments, struct buffer *out) {
    if (!is_count(&arguments[0])) return unfit(1, "a number of times", &arguments[0]);
    for (uint64_t i = 0; i < arguments[0].number; i++)
        if (!wait_for(2, &arguments[1])) return false;
    return echo(arguments, out);
}

static const struct {
    const char *name, *parameters, *help;
    size_t least, most; /* arguments */
    function *run;
} functions[] = {
    { "square", "(n)", "The square of an integer", 1, 1, square },
    /* From here on they are offered with --conformance only. */
    { "echo", "(value)", "The value as it came", 1, 1, echo },
    { "fail", "(message, kind?, times?)", "Fails, with that message", 1, 3, fail_so },
    { "panic", "(message)", "Fails as by a fault of its own", 1, 1, panic },
    { "sleep", "(seconds, value?)", "The value, or nil, after so many seconds", 1, 2, sleep_for },
    { "spawn", "(seconds)", "Starts a process of so many seconds", 1, 1, spawn },
    { "print", "(text)", "Prints a line on both standard streams", 1, 1, print },
    { "environment", "(name)", "An environment variable, or nil", 1, 1, environment },
    { "remember", "(value)", "Keeps a value in this process", 1, 1, remember },
    { "recall", "()", "The value kept last, or nil", 0, 0, recall },
    { "nest", "(levels)", "Arrays inside of one another", 1, 1, nest },
    { "repeat", "(text, times)", "The text, so many times over", 2, 2, repeat },
    { "tick", "(times, seconds)", "Waits so many times so long", 2, 2, tick },
};
enum { ORDINARY = 1, ALL = sizeof functions / sizeof *functions };
static size_t offered = ORDINARY;

/* ---- The connection --------------------------------------------------------------------- */

static int connection;
static struct buffer out; /* the frame to be sent */

static void read_fully(uint8_t *bytes, size_t length, bool between_frames) {
    for (size_t got = 0; got < length;) {
        ssize_t count = read(connection, bytes + got, length - got);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == ECONNRESET) exit(NORMAL);
        if (count < 0) leave(PROTOCOL, "cannot read from the master: %s", strerror(errno));
        if (count == 0 && between_frames && got == 0) exit(NORMAL); /* W-1 */
        if (count == 0) malformed("the rest of a frame", "the end of the stream");
        got += (size_t)count;
    }
}

static struct reader receive(void) {
    static struct buffer body;
    uint8_t head[4];
    read_fully(head, sizeof head, true);
    uint32_t length = (uint32_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
    if (length == 0 || length > LIMIT) malformed("a frame within the limit", "one of another size");
    body.length = 0;
    if (body.room < length || body.room > TEXT_LIMIT) { /* no need to keep a large one */
        free(body.bytes);
        body.bytes = malloc(body.room = length);
        if (!body.bytes) leave(PROTOCOL, "no memory for a frame of %u bytes", length);
    }
    read_fully(body.bytes, length, false);
    return (struct reader){ body.bytes, body.bytes + length };
}

static void begin_message(const char *name, int fields) {
    out.length = 0;
    put(&out, "\0\0\0\0\x81", 5);
    put_string(&out, name);
    put_map(&out, fields);
}

static void send_message(void) {
    uint32_t length = (uint32_t)out.length - 4;
    for (int i = 0; i < 4; i++) out.bytes[i] = (uint8_t)(length >> (24 - 8 * i));
    for (size_t sent = 0; sent < out.length;) {
        ssize_t count = write(connection, out.bytes + sent, out.length - sent);
        if (count > 0) sent += (size_t)count;
        else if (errno == EPIPE || errno == ECONNRESET) exit(NORMAL); /* W-2 */
        else if (errno != EINTR) leave(PROTOCOL, "cannot write to the master: %s", strerror(errno));
    }
}

/* W-3: a thread sees in the middle of a call that the master is gone. Each side sets its own flag
 * first and then reads the other's, so that no call begins unseen. */
static atomic_bool in_call, gone;

static void *watch(void *unused) {
    (void)unused;
#ifdef POLLRDHUP
    struct pollfd watched = { .fd = connection, .events = POLLRDHUP };
#else
    struct pollfd watched = { .fd = connection };
#endif
    while (poll(&watched, 1, -1) < 0 && errno == EINTR) {}
    gone = true;
    if (in_call) kill(getpgrp() == getpid() ? 0 : getpid(), SIGKILL);
    return NULL;
}

/* ---- Envelopes -------------------------------------------------------------------------- */

struct field {
    const char *name;
    enum { TEXT, TEXTS, U32, U64, FLAG, FIELDS } type;
    enum { OPTIONAL, OPTIONAL_OR_NIL, REQUIRED } presence;
    const struct field *fields; /* inside, up to one without a name */
};
enum { MOST_FIELDS = 8 }; /* in the order of the tables */
static const struct field shared_output[] = {
    { "path", TEXT, REQUIRED, 0 }, { "key", U64, REQUIRED, 0 },
    { "results", U64, OPTIONAL_OR_NIL, 0 }, { 0 } };
static const struct field shared_arguments[] = {
    { "path", TEXT, REQUIRED, 0 }, { "key", U64, REQUIRED, 0 }, { 0 } };
static const struct field shared[] = {
    { "offset", U64, REQUIRED, 0 }, { "length", U64, REQUIRED, 0 }, { 0 } };
enum { VERSION, FEATURES, INITIALIZER, INITIALIZER_KEYWORDS };
static const struct field welcome[] = {
    { "version", U32, REQUIRED, 0 }, { "features", TEXTS, OPTIONAL, 0 },
    { "initializer", TEXT, OPTIONAL_OR_NIL, 0 }, { "keywords", FLAG, OPTIONAL, 0 },
    { "slot", U32, OPTIONAL, 0 }, { "pool", TEXT, OPTIONAL, 0 },
    { "shared_output", FIELDS, OPTIONAL_OR_NIL, shared_output },
    { "shared_arguments", FIELDS, OPTIONAL_OR_NIL, shared_arguments }, { 0 } };
enum { REASON };
static const struct field reject[] = { { "reason", TEXT, REQUIRED, 0 }, { 0 } };
enum { ID, FUNCTION, ITEMS, KEYWORDS, LAST, SHARED };
static const struct field call[] = {
    { "id", U64, REQUIRED, 0 }, { "function", TEXT, REQUIRED, 0 }, { "items", U32, OPTIONAL, 0 },
    { "keywords", FLAG, OPTIONAL, 0 }, { "last", FLAG, OPTIONAL, 0 },
    { "shared", FIELDS, OPTIONAL_OR_NIL, shared }, { 0 } };
static const struct field drain[] = { { 0 } };

static void take_fields(const struct value *map, const struct field *fields, struct value *found);

static bool fits(const struct value *value, const struct field *field) {
    struct reader in = inside(value);
    struct value inner[MOST_FIELDS] = { 0 };
    switch (field->type) {
    case TEXT: return is_text(value);
    case U32: return is_count(value) && value->number <= UINT32_MAX;
    case U64: return is_count(value);
    case FLAG: return value->kind == BOOLEAN;
    case TEXTS:
        if (value->kind != ARRAY) return false;
        for (uint64_t i = 0; i < value->number; i++) {
            struct value text = take(&in, ENVELOPE_LEVELS, true);
            if (!is_text(&text)) return false;
        }
        return true;
    case FIELDS:
        if (value->kind != MAP) return false;
        take_fields(value, field->fields, inner);
        return true;
    }
    return false;
}

/* W-13: fields in any order; those that nobody knows are passed over. */
static void take_fields(const struct value *map, const struct field *fields, struct value *found) {
    struct reader in = inside(map);
    for (uint64_t i = 0; i < map->number; i++) {
        struct value key = take(&in, ENVELOPE_LEVELS, true);
        struct value value = take(&in, ENVELOPE_LEVELS, true);
        for (int j = 0; fields[j].name; j++) {
            if (!equals(&key, fields[j].name)) continue;
            if (found[j].kind != ABSENT) malformed("a field once", fields[j].name);
            if (!(value.kind == NIL && fields[j].presence == OPTIONAL_OR_NIL)
                && !fits(&value, &fields[j]))
                leave(PROTOCOL, "the master broke the protocol: expected a value of the type and "
                      "range of `%s`, found %s", fields[j].name, kind_names[value.kind]);
            found[j] = value;
        }
    }
    for (int j = 0; fields[j].name; j++)
        if (fields[j].presence == REQUIRED && found[j].kind == ABSENT)
            malformed(fields[j].name, "no such field");
}

/* Reads an envelope, gives the message, and leaves the payload. */
static const struct field *take_envelope(struct reader *in, struct value *found) {
    static const struct { const char *name; const struct field *fields; } messages[] = {
        { "call", call }, { "drain", drain }, { "welcome", welcome }, { "reject", reject } };
    if (*in->at != 0x81) malformed("an envelope, which begins with the byte 81", "another byte");
    struct value envelope = take(in, ENVELOPE_LEVELS, true);
    struct reader entry = inside(&envelope);
    struct value name = take_head(&entry), fields = take(&entry, ENVELOPE_LEVELS, true);
    if (fields.kind != MAP) malformed("a map of the fields", kind_names[fields.kind]);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        if (!equals(&name, messages[i].name)) continue;
        memset(found, 0, MOST_FIELDS * sizeof *found);
        take_fields(&fields, messages[i].fields, found);
        return messages[i].fields;
    }
    malformed("a message of a master", "another name");
}

/* ---- Calls ------------------------------------------------------------------------------ */

struct item {
    struct value positional, keywords; /* an array; a map, or absent */
};

static struct item take_item(struct reader *in, bool keywords) {
    struct item item = { 0 };
    if (in->at == in->end) malformed("an item", "the end of the payload");
    item.positional = take(in, LEVELS, false);
    if (item.positional.kind != ARRAY)
        malformed("an array of arguments", kind_names[item.positional.kind]);
    if (!keywords) return item;
    if (in->at == in->end) malformed("a map of keywords", "the end of the payload");
    item.keywords = take(in, LEVELS, false);
    if (item.keywords.kind != MAP) malformed("a map of keywords", kind_names[item.keywords.kind]);
    return item;
}

static void check_end(const struct reader *in) {
    if (in->at != in->end) malformed("the end of the payload", "more bytes");
}

static bool run(const struct value *name, const struct item *item) {
    size_t i = 0, start = out.length;
    while (i < offered && !equals(name, functions[i].name)) i++;
    if (i == offered)
        return fail("UnknownFunction", "this worker has no function of that name"); /* W-32 */
    if (item->keywords.number > 0)
        return fail("InvalidArguments", "`%s` takes no keyword arguments", functions[i].name);
    uint64_t count = item->positional.number;
    if (count < functions[i].least || count > functions[i].most)
        return fail("InvalidArguments", "`%s%s`: found %llu arguments", functions[i].name,
                    functions[i].parameters, (unsigned long long)count);
    struct value arguments[ARGUMENTS] = { 0 };
    struct reader in = inside(&item->positional);
    for (uint64_t j = 0; j < count; j++) arguments[j] = take(&in, LEVELS, false);
    if (!functions[i].run(arguments, &out)) return false;
    if (out.length - 4 <= LIMIT) return true;
    out.length = start;
    return fail("InvalidResult", "the result does not fit a frame"); /* W-21 */
}

static void put_failure(void) {
    put_string(&out, "kind"), put_text(&out, kind.bytes, kind.length);
    put_string(&out, "message"), put_text(&out, message.bytes, message.length);
}

static void begin_answer(const char *name, int fields, const struct value *id, uint32_t item) {
    begin_message(name, fields);
    put_string(&out, "id");
    put_unsigned(&out, id->number);
    put_string(&out, "item");
    put_unsigned(&out, item);
}

static void serve_call(const struct value *fields, struct reader payload) {
    uint64_t items = fields[ITEMS].kind == ABSENT ? 1 : fields[ITEMS].number;
    bool keywords = fields[KEYWORDS].number, failed = false;
    if (items == 0) malformed("an item or more", "a call of none");
    if (fields[SHARED].kind == MAP) malformed("a payload in the frame", "the field `shared`");
    struct reader all = payload;
    for (uint64_t i = 0; i < items; i++) take_item(&all, keywords);
    check_end(&all);
    in_call = true;
    for (uint32_t i = 0; i < items; i++) {
        if (gone) exit(NORMAL); /* W-2 */
        struct item item = take_item(&payload, keywords);
        begin_answer("result", 2, &fields[ID], i);
        bool done = run(&fields[FUNCTION], &item);
        if (!done) {
            failed = true;
            begin_answer("error", 3, &fields[ID], i);
            put_string(&out, "failure");
            put_map(&out, 2);
            put_failure();
        }
        if (i + 1 == items) in_call = false; /* The master may close once it has the last one. */
        send_message(); /* W-28: in full, before the next item begins. */
        if (out.room > TEXT_LIMIT) free(out.bytes), out = (struct buffer){ 0 };
    }
    if (fields[LAST].number) exit(failed ? FAILED : NORMAL); /* W-31 */
}

static void start(const struct value *fields, struct reader payload) {
    bool keywords = fields[INITIALIZER_KEYWORDS].number;
    if (fields[VERSION].number != 1) malformed("version 1", "another version"); /* W-24 */
    if (fields[FEATURES].number > 0) malformed("a feature of the hello", "another feature");
    struct item item = { 0 };
    if (fields[INITIALIZER].kind == STRING) item = take_item(&payload, keywords);
    check_end(&payload);
    if (fields[INITIALIZER].kind == STRING) {
        in_call = true;
        if (gone) exit(NORMAL);
        begin_message("initializer", 0); /* Nobody gets its value. */
        bool done = run(&fields[INITIALIZER], &item);
        in_call = false;
        if (!done) {
            begin_message("initializer_failed", 2);
            put_failure();
            send_message();
            exit(FAILED); /* W-20 */
        }
    }
    begin_message("ready", 0);
    send_message();
}

static void greet(const char *token) {
    begin_message("hello", 6);
    put_string(&out, "token"), put_string(&out, token);
    put_string(&out, "oldest"), put_unsigned(&out, 1);
    put_string(&out, "newest"), put_unsigned(&out, 1);
    put_string(&out, "name"), put_string(&out, "worker.c");
    put_string(&out, "version"), put_string(&out, "1.0.0");
    put_string(&out, "functions"), put_array(&out, (int)offered); /* up to 15 */
    for (size_t i = 0; i < offered; i++) {
        put_map(&out, 3);
        put_string(&out, "name"), put_string(&out, functions[i].name);
        put_string(&out, "parameters"), put_string(&out, functions[i].parameters);
        put_string(&out, "help"), put_string(&out, functions[i].help);
    }
    send_message();
}

static void connect_to(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) leave(PROTOCOL, "WORKER_ADDRESS is too long");
    strcpy(address.sun_path, path);
    connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connection < 0 || fcntl(connection, F_SETFD, FD_CLOEXEC) < 0 /* W-6 */
        || connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        leave(PROTOCOL, "cannot connect to the master: %s", strerror(errno));
}

int main(int count, char **arguments) {
    const char *address = getenv("WORKER_ADDRESS"), *token = getenv("WORKER_TOKEN");
    bool conformance = count == 2 && strcmp(arguments[1], "--conformance") == 0;
    if (!address || !token || (count > 1 && !conformance))
        leave(USAGE, "a worker, to be started by a master: master map --worker %s square 2 3",
              count > 0 ? arguments[0] : "worker");
    signal(SIGPIPE, SIG_IGN);
    offered = conformance ? ALL : ORDINARY;
    connect_to(address);
    greet(token);
    unsetenv("WORKER_ADDRESS"); /* W-5 */
    unsetenv("WORKER_TOKEN");
    pthread_t thread;
    int error = pthread_create(&thread, NULL, watch, NULL);
    if (error) leave(PROTOCOL, "cannot watch the connection: %s", strerror(error));

    for (bool welcomed = false;; welcomed = true) {
        struct value fields[MOST_FIELDS];
        struct reader in = receive();
        const struct field *found = take_envelope(&in, fields);
        if (found == welcome && !welcomed) start(fields, in);
        else if (found == call && welcomed) serve_call(fields, in);
        else if (found == reject && !welcomed) {
            check_end(&in);
            leave(PROTOCOL, "the master refused this worker: %.*s", (int)fields[REASON].number,
                  (const char *)fields[REASON].content);
        } else if (found == drain && welcomed) {
            check_end(&in);
            return NORMAL; /* W-23 */
        } else malformed(welcomed ? "`call` or `drain`" : "`welcome` or `reject`", "another one");
    }
}
