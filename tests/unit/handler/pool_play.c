/* pool_play.c - see pool_play.h. Reads without a buffer, so that it takes nothing that it does not use. */
#include "pool_play.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct object {
    char line[200000], key[256], path[256];
    unsigned long long id, body_bytes, size;
    int channel; /* 0: none */
};

static const char *directory;
static bool stubborn; /* takes neither the end of its input nor SIGTERM for an end */

unsigned long long play_hash(const char *data, unsigned long n) {
    unsigned long long hash = 14695981039346656037u;
    for (unsigned long i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211u;
    return hash;
}

static void read_all(int fd, char *data, size_t n) {
    while (n) {
        ssize_t got = read(fd, data, n);
        if (got <= 0)
            _exit(90); /* an end in the middle */
        data += got;
        n -= (size_t)got;
    }
}

static void write_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t put = write(fd, data, n);
        if (put < 0)
            _exit(91);
        data += put;
        n -= (size_t)put;
    }
}

static void say(const char *text) {
    write_all(STDOUT_FILENO, text, strlen(text));
}

static void note(const char *file, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    write_all(fd, text, strlen(text));
    close(fd);
}

static void await(const char *file) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    while (access(path, F_OK) < 0)
        usleep(5000);
}

static void take_text(const char *line, const char *name, char text[256]) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
    const char *at = strstr(line, pattern);
    text[0] = '\0';
    if (at)
        sscanf(at + strlen(pattern), "%255[^\"]", text);
}

static void take_line(struct object *object) {
    size_t n = 0;
    do {
        ssize_t got = read(STDIN_FILENO, object->line + n, 1);
        while (got <= 0 && stubborn)
            pause();
        if (got <= 0)
            _exit(n ? 90 : 0);
    } while (object->line[n++] != '\n');
    object->line[n] = '\0';
    if (sscanf(object->line, "{\"id\":%llu,\"body_bytes\":%llu,\"size\":%llu,", &object->id, &object->body_bytes,
               &object->size) != 3)
        _exit(92);
    take_text(object->line, "key", object->key);
    take_text(object->line, "path", object->path);
    const char *channel = strstr(object->line, "\"socket\":");
    object->channel = channel ? (int)strtol(channel + 9, NULL, 10) : 0;
}

/* One message with one descriptor, and there is no other. */
static int receive_descriptor(int channel) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    char byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    int fd;
    if (recvmsg(channel, &message, MSG_DONTWAIT) != 1 || message.msg_flags) /* it is there before the line */
        _exit(94);
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (!rights || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof fd))
        _exit(95);
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    if (recv(channel, &byte, 1, MSG_DONTWAIT) != -1)
        _exit(96);
    return fd;
}

/* What it is, and that nothing can be done to it; and that nothing else came to this process. */
static void look_at_descriptor(int fd) {
    char path[64], text[1] = {0};
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW, has = fcntl(fd, F_GET_SEALS);
    bool memory = has >= 0 && (has & seals) == seals;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY || lseek(fd, 0, SEEK_CUR) != 0 || write(fd, text, 1) != -1)
        _exit(97);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = memory ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (memory && (again < 0 || pwrite(again, text, 1, 0) != -1 || ftruncate(again, 1 << 30) != -1))
        _exit(98);
    close(again);
    for (int other = 4; other < 100; other++)
        if (other != fd && fcntl(other, F_GETFD) != -1)
            _exit(99);
    note("descriptors", memory ? "memory\n" : "file\n");
}

static void take_body(const struct object *object) {
    char *body = malloc(object->size + 1), text[600];
    int fd = object->path[0]   ? open(object->path, O_RDONLY | O_CLOEXEC)
             : object->channel ? receive_descriptor(object->channel)
                               : STDIN_FILENO;
    if (object->channel)
        look_at_descriptor(fd);
    read_all(fd, body, object->size);
    if (fd != STDIN_FILENO && read(fd, text, 1) != 0)
        _exit(93);
    if (fd != STDIN_FILENO)
        close(fd);
    snprintf(text, sizeof text, "%d %s %llu %llx\n", (int)getpid(), object->key, object->size,
             play_hash(body, object->size));
    note("log", text);
    note("lines", object->line);
    free(body);
}

static void answer(const struct object *object, const char *rest) {
    char text[4200];
    snprintf(text, sizeof text, "{\"id\":%llu,%s}\n", object->id, rest);
    say(text);
}

static void before_the_body(const struct object *object) {
    const char *key = object->key;
    if (strcmp(key, "crash-early") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(key, "slow") == 0)
        await("go");
    if (strcmp(key, "ok-unread") == 0)
        answer(object, "\"status\":\"ok\"");
    if (strcmp(key, "fail-unread") == 0)
        answer(object, "\"status\":\"fail\",\"reason\":\"not wanted\"");
    if (strcmp(key, "close-stdin") == 0) {
        close(STDIN_FILENO);
        pause();
    }
    if (strstr(key, "unread"))
        pause();
}

static void make_huge_line(void) {
    static char piece[1000];
    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 70; i++)
        write_all(STDOUT_FILENO, piece, sizeof piece);
    pause();
}

static void grow(void) {
    size_t n = 64 << 20;
    volatile char *memory = malloc(n);
    for (size_t i = 0; i < n; i += 4096)
        memory[i] = 1;
}

/* "give:N": a result of N bytes. "parts:A,B,..": several, of so many bytes. "few:N:M", "many:N:M": says N, sends M. */
static bool give_results(const struct object *object) {
    char text[4096], *numbers = strchr(object->key, ':');
    if (!numbers)
        return false;
    size_t said = strtoull(++numbers, &numbers, 10), n = said;
    if (strncmp(object->key, "parts:", 6) == 0) {
        int at = snprintf(text, sizeof text, "\"status\":\"ok\",\"results\":[{\"name\":\"p0\",\"bytes\":%zu}", said);
        for (int i = 1; *numbers == ','; i++) {
            size_t more = strtoull(numbers + 1, &numbers, 10);
            at += snprintf(text + at, sizeof text - (size_t)at,
                           ",{\"name\":\"p%d\",\"bytes\":%zu,\"content_type\":\"x/%d\",\"extension\":\"e%d\"}", i, more,
                           i, i);
            n += more;
        }
        snprintf(text + at, sizeof text - (size_t)at, "]");
    } else {
        snprintf(text, sizeof text,
                 "\"status\":\"ok\",\"result_bytes\":%zu,\"content_type\":\"a/b\",\"extension\":\"c\"", said);
        if (*numbers == ':')
            n = strtoull(numbers + 1, &numbers, 10);
    }
    answer(object, text);
    char *data = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)((i * 2654435761u) >> 13);
    write_all(STDOUT_FILENO, data, n);
    free(data);
    if (strncmp(object->key, "few:", 4) == 0) {
        fputs("oh no\n", stderr);
        _exit(4);
    }
    if (strncmp(object->key, "stuck:", 6) == 0)
        pause();
    return true;
}

static void act(const struct object *object) {
    const char *key = object->key;
    if (give_results(object))
        return;
    if (strcmp(key, "crash") == 0) {
        fputs("the last words\n", stderr);
        signal(SIGSEGV, SIG_DFL); /* a sanitizer has words of its own */
        kill(getpid(), SIGSEGV);
    } else if (strcmp(key, "exit") == 0) {
        exit(3);
    } else if (strcmp(key, "hang") == 0) {
        note("hangs", "x\n");
        for (;;)
            pause();
    } else if (strcmp(key, "garbage") == 0) {
        say("hello\n");
        pause();
    } else if (strcmp(key, "binary") == 0) {
        write_all(STDOUT_FILENO, "\0\377\n", 3);
        pause();
    } else if (strcmp(key, "chatter") == 0) {
        say("loading...\n");
        answer(object, "\"status\":\"ok\"");
    } else if (strcmp(key, "huge") == 0) {
        make_huge_line();
    } else if (strcmp(key, "endless") == 0) {
        for (;;)
            say("{\"id\":");
    } else if (strcmp(key, "close-stdout") == 0) {
        close(STDOUT_FILENO);
        pause();
    } else if (strcmp(key, "cut") == 0) {
        say("{\"id\":1,\"sta");
        exit(0);
    } else if (strcmp(key, "wrong-id") == 0) {
        say("{\"id\":4711,\"status\":\"ok\"}\n");
        pause();
    } else if (strcmp(key, "result") == 0) {
        answer(object, "\"status\":\"ok\",\"result_bytes\":3");
        say("abc");
        pause();
    } else if (strcmp(key, "status") == 0) {
        answer(object, "\"status\":\"done\"");
        pause();
    } else if (strcmp(key, "retry") == 0) {
        answer(object, "\"status\":\"retry\",\"reason\":\"the database is away\"");
    } else if (strcmp(key, "retry-silent") == 0) {
        answer(object, "\"status\":\"retry\"");
    } else if (strcmp(key, "fail") == 0) {
        answer(object, "\"status\":\"fail\",\"reason\":\"no\\u0007t a picture\\nat all\"");
    } else if (strcmp(key, "fail-said") == 0) {
        fputs("so it goes\n", stderr);
        answer(object, "\"status\":\"fail\"");
    } else if (strcmp(key, "twice") == 0) {
        char text[100];
        snprintf(text, sizeof text, "{\"id\":%llu,\"status\":\"ok\"}\n{\"id\":%llu,\"status\":\"ok\"}\n", object->id,
                 object->id);
        say(text);
    } else if (strcmp(key, "blank-lines") == 0) {
        say("\n \r\n");
        answer(object, "\"status\":\"ok\", \"reason\":null, \"result_bytes\":0, \"more\":[1]");
        say("\n\n");
    } else if (strcmp(key, "in-pieces") == 0) {
        char text[100];
        int n = snprintf(text, sizeof text, "{\"id\":%llu,\"status\":\"ok\"}\n", object->id);
        for (int i = 0; i < n; i++, usleep(2000))
            write_all(STDOUT_FILENO, text + i, 1);
    } else if (strcmp(key, "then-exit") == 0) {
        answer(object, "\"status\":\"ok\"");
        exit(0);
    } else if (strcmp(key, "then-exit-later") == 0) {
        answer(object, "\"status\":\"ok\"");
        usleep(100000);
        exit(0);
    } else if (strcmp(key, "then-deaf") == 0) {
        close(object->channel);
        answer(object, "\"status\":\"ok\"");
    } else if (strcmp(key, "then-chatter") == 0) {
        answer(object, "\"status\":\"ok\"");
        usleep(100000);
        say("done with it\n");
    } else if (strcmp(key, "grow") == 0) {
        grow();
        answer(object, "\"status\":\"ok\"");
    } else {
        if (strcmp(key, "noisy") == 0)
            fputs("a line about this object\n", stderr);
        answer(object, "\"status\":\"ok\"");
    }
}

void play_worker(const char *in_directory, const char *mode) {
    static struct object object;
    char text[32];
    directory = in_directory;
    setvbuf(stderr, NULL, _IONBF, 0);
    snprintf(text, sizeof text, "%d\n", (int)getpid());
    note("starts", text);
    stubborn = strcmp(mode, "stubborn") == 0;
    if (stubborn)
        signal(SIGTERM, SIG_IGN);
    if (strcmp(mode, "dies") == 0) {
        fputs("no such module\n", stderr);
        _exit(1);
    }
    if (strcmp(mode, "greets") == 0)
        say("worker ready\n");
    if (strcmp(mode, "env") == 0)
        for (char **variable = environ; *variable; variable++) {
            note("env", *variable);
            note("env", "\n");
        }
    for (;;) {
        take_line(&object);
        before_the_body(&object);
        take_body(&object);
        act(&object);
    }
}
