/* postgres_server.c - see postgres_server.h. */
#include "postgres_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POOLER "/usr/sbin/pgbouncer"

static void die(const struct postgres_server *server, const char *what) {
    char command[256];
    fprintf(stderr, "postgres_server: %s\n", what);
    snprintf(command, sizeof command, "tail -n 20 %s/log %s/pooler.log >&2", server->folder, server->folder);
    if (system(command) != 0)
        fprintf(stderr, "(no log)\n");
    exit(1);
}

static bool find_bin(char *ret_bin, size_t size) {
    static const char root[] = "/usr/lib/postgresql";
    DIR *dir = opendir(root);
    int newest = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[300];
        int version = atoi(entry->d_name);
        snprintf(path, sizeof path, "%s/%d/bin/postgres", root, version);
        if (version > newest && access(path, X_OK) == 0)
            newest = version;
    }
    if (dir)
        closedir(dir);
    snprintf(ret_bin, size, "%s/%d/bin", root, newest);
    return newest >= 14;
}

static const struct passwd *other_user(void) {
    const struct passwd *user = getpwnam("postgres");
    return user ? user : getpwnam("nobody");
}

const char *postgres_server_missing(void) {
    char bin[64];
    if (!find_bin(bin, sizeof bin))
        return "PostgreSQL's server, 14 or newer (Debian: postgresql)";
    return geteuid() == 0 && !other_user() ? "a user to run PostgreSQL, as it refuses root" : NULL;
}

const char *postgres_pooler_missing(void) {
    return access(POOLER, X_OK) == 0 ? NULL : "PgBouncer (Debian: pgbouncer)";
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        exit(1);
    close(fd);
    return ntohs(address.sin_port);
}

/* As the server's user, in its folder, ended when we end. */
static pid_t start(const struct postgres_server *server, const char *const *argv, const char *log) {
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    static const int heard[] = {SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < sizeof heard / sizeof heard[0]; i++)
        signal(heard[i], SIG_DFL); /* a shell ignores some for what runs in its background */
    int null = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(server->gid) < 0 || setuid(server->uid) < 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent || chdir(server->folder) < 0)
        _exit(126);
    setenv("LC_ALL", "C.UTF-8", 1);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", server->bin, argv[0]);
    execv(argv[0][0] == '/' ? argv[0] : path, (char *const *)(const void *)argv);
    _exit(127);
}

static void run(const struct postgres_server *server, const char *const *argv) {
    char log[128];
    int status = 0;
    snprintf(log, sizeof log, "%s/log", server->folder);
    pid_t pid = start(server, argv, log);
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        die(server, argv[0]);
}

static void write_file(const struct postgres_server *server, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void write_file(const struct postgres_server *server, const char *name, const char *format, ...) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", server->folder, name);
    FILE *file = fopen(path, "a");
    va_list args;
    va_start(args, format);
    if (!file || vfprintf(file, format, args) < 0 || fclose(file) != 0)
        die(server, "cannot write its configuration");
    va_end(args);
    if (geteuid() == 0 && chown(path, server->uid, server->gid) < 0)
        die(server, "cannot give it its configuration");
}

static PGconn *connect_to(const struct postgres_server *server, const char *database) {
    char text[256];
    snprintf(text, sizeof text, "host=%s port=%d user=postgres dbname=%s", server->folder, server->port, database);
    return PQconnectdb(text);
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void wait_for_server(const struct postgres_server *server) {
    for (int i = 0; i < 1500; i++) {
        PGconn *pg = connect_to(server, "postgres");
        bool up = PQstatus(pg) == CONNECTION_OK;
        PQfinish(pg);
        if (up)
            return;
        pause_ms(20);
    }
    die(server, "PostgreSQL does not answer");
}

void postgres_server_again(struct postgres_server *server) {
    char log[128];
    snprintf(log, sizeof log, "%s/log", server->folder);
    server->pid = start(server, (const char *const[]){"postgres", "-D", "data", NULL}, log);
    wait_for_server(server);
}

static struct postgres_server *only; /* for who ends without saying so */

static void stop_at_exit(void) {
    if (only)
        postgres_server_stop(only);
}

void postgres_server_start(struct postgres_server *server) {
    *server = (struct postgres_server){.uid = geteuid(), .gid = getegid()};
    snprintf(server->folder, sizeof server->folder, "/tmp/froe-postgres-XXXXXX");
    if (!mkdtemp(server->folder) || !find_bin(server->bin, sizeof server->bin))
        die(server, "cannot make a folder");
    if (geteuid() == 0) {
        const struct passwd *user = other_user();
        server->uid = user->pw_uid;
        server->gid = user->pw_gid;
        if (chown(server->folder, server->uid, server->gid) < 0)
            die(server, "cannot give it its folder");
    }
    run(server,
        (const char *const[]){"initdb", "-D", "data", "-U", "postgres", "--auth-local=trust",
                              "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", NULL});
    server->port = free_port();
    write_file(server, "data/postgresql.auto.conf",
               "listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = '%s'\nfsync = on\n"
               "shared_buffers = 128MB\nmax_wal_size = 2GB\nlog_min_messages = warning\nmax_connections = 60\n%s\n",
               server->port, server->folder,
               getenv("FROE_TEST_POSTGRES_CONF") ? getenv("FROE_TEST_POSTGRES_CONF") : "");
    postgres_server_again(server);
    only = server;
    atexit(stop_at_exit);
    postgres_server_sql(server, "CREATE ROLE froe LOGIN PASSWORD '" POSTGRES_PASSWORD "'");
    postgres_server_sql(server, "GRANT CREATE ON DATABASE postgres TO froe");
}

static void end(pid_t *pid, int signal_number) {
    if (*pid <= 0)
        return;
    kill(*pid, signal_number);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

void postgres_server_crash(struct postgres_server *server) {
    end(&server->pid, SIGQUIT);
}

void postgres_server_save(const struct postgres_server *server) {
    run(server, (const char *const[]){"/bin/cp", "-a", "data", "saved", NULL});
}

void postgres_server_restore(const struct postgres_server *server) {
    run(server, (const char *const[]){"/bin/rm", "-r", "data", NULL});
    run(server, (const char *const[]){"/bin/mv", "saved", "data", NULL});
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void postgres_server_stop(struct postgres_server *server) {
    end(&server->pooler, SIGQUIT);
    end(&server->pid, SIGINT);
    if (server->folder[0])
        nftw(server->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    server->folder[0] = '\0';
    only = NULL;
}

void postgres_pooler_start(struct postgres_server *server) {
    char log[128];
    server->pooler_port = free_port();
    write_file(server, "pooler.ini",
               "[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
               "unix_socket_dir =\nauth_type = plain\nauth_file = %s/users.txt\npool_mode = transaction\n"
               "max_client_conn = 50\ndefault_pool_size = 3\nlogfile = %s/pooler.log\n",
               server->folder, server->port, server->pooler_port, server->folder, server->folder);
    write_file(server, "users.txt", "\"froe\" \"" POSTGRES_PASSWORD "\"\n");
    snprintf(log, sizeof log, "%s/pooler.out", server->folder);
    server->pooler = start(server, (const char *const[]){POOLER, "pooler.ini", NULL}, log);
    char uri[256];
    postgres_server_uri(server, POSTGRES_POOLER, 0, NULL, uri, sizeof uri);
    for (int i = 0; i < 500; i++) {
        PGconn *pg = PQconnectdb(uri);
        bool up = PQstatus(pg) == CONNECTION_OK;
        PQfinish(pg);
        if (up)
            return;
        pause_ms(20);
    }
    die(server, "PgBouncer does not answer");
}

void postgres_server_uri(const struct postgres_server *server, enum postgres_way way, int port, const char *schema,
                         char *ret_uri, size_t size) {
    char ours[64] = "";
    if (schema)
        snprintf(ours, sizeof ours, "froe_schema=%s", schema);
    if (way == POSTGRES_SOCKET)
        snprintf(ret_uri, size, "postgres:///postgres?host=%s&port=%d&user=froe&%s", server->folder, server->port,
                 ours);
    else
        snprintf(ret_uri, size, "postgresql://froe:%s@127.0.0.1:%d/postgres?sslmode=disable&gssencmode=disable&%s",
                 POSTGRES_PASSWORD,
                 port                     ? port
                 : way == POSTGRES_POOLER ? server->pooler_port
                                          : server->port,
                 ours);
}

static void ignore_notice(void *arg, const PGresult *notice) {
    (void)arg;
    (void)notice;
}

static char last_value[4096];

static const char *query(const struct postgres_server *server, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static const char *query(const struct postgres_server *server, const char *format, va_list args) {
    char text[4096];
    vsnprintf(text, sizeof text, format, args);
    PGconn *pg = connect_to(server, "postgres");
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    PGresult *answer = PQexec(pg, text);
    bool rows = PQresultStatus(answer) == PGRES_TUPLES_OK;
    if (!rows && PQresultStatus(answer) != PGRES_COMMAND_OK)
        snprintf(last_value, sizeof last_value, "%s", PQerrorMessage(pg));
    else
        snprintf(last_value, sizeof last_value, "%s", rows && PQntuples(answer) ? PQgetvalue(answer, 0, 0) : "");
    PQclear(answer);
    PQfinish(pg);
    return last_value;
}

const char *postgres_server_sql(const struct postgres_server *server, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *value = query(server, format, args);
    va_end(args);
    return value;
}

int64_t postgres_server_number(const struct postgres_server *server, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *value = query(server, format, args);
    va_end(args);
    if (strncmp(value, "ERROR", 5) == 0) {
        fprintf(stderr, "%s\n", value);
        exit(1);
    }
    return strtoll(value, NULL, 10);
}

void postgres_server_wipe(const struct postgres_server *server, const char *schema) {
    postgres_server_sql(server, "SET client_min_messages = error; DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
}
