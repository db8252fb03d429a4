/* main.c - the program froe-s3mock: options, and waiting for a signal. */
#include "cleanup.h"
#include "mock.h"
#include "text.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

static const char usage[] =
    "Usage: froe-s3mock [OPTION]...\n"
    "An S3 server in memory for tests and benchmarks; it listens on loopback only.\n"
    "\n"
    "      --host ADDRESS       loopback address to listen on (127.0.0.1)\n"
    "      --port N             port to listen on; 0 is any free one (0)\n"
    "      --access-key ID      the access key id it accepts (test)\n"
    "      --secret-key KEY     its secret key (test)\n"
    "      --region NAME        region of the endpoint and of buckets made without one (us-east-1)\n"
    "      --tls-cert FILE      PEM certificate chain: speak HTTPS; needs --tls-key\n"
    "      --tls-key FILE       PEM private key\n"
    "      --fault ORDER        misbehave, e.g. \"latency op=get ms=30\"; may be given more than once\n"
    "      --ignore-if-match    delete and copy whatever conditions say, as some servers do\n"
    "      --default-checksum   give objects that come without a checksum a CRC64NVME, as AWS does\n"
    "      --max-bytes N        most bytes of bodies to hold (4294967296)\n"
    "      --min-part-size N    least bytes of an upload's parts but the last (5242880)\n"
    "      --port-file FILE     write the port there once it listens\n"
    "      --help, --version\n"
    "\n"
    "Prints one line, \"listening on URL\", when it is ready. SIGTERM or SIGINT ends it.\n"
    "Exit status: 0 ended by a signal, 1 cannot start, 2 wrong usage.\n";

enum option_id {
    OPTION_HOST = 256,
    OPTION_PORT,
    OPTION_ACCESS_KEY,
    OPTION_SECRET_KEY,
    OPTION_REGION,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_FAULT,
    OPTION_IGNORE_IF_MATCH,
    OPTION_DEFAULT_CHECKSUM,
    OPTION_MAX_BYTES,
    OPTION_MIN_PART,
    OPTION_PORT_FILE,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option options_known[] = {
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"access-key", required_argument, NULL, OPTION_ACCESS_KEY},
    {"secret-key", required_argument, NULL, OPTION_SECRET_KEY},
    {"region", required_argument, NULL, OPTION_REGION},
    {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
    {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
    {"fault", required_argument, NULL, OPTION_FAULT},
    {"ignore-if-match", no_argument, NULL, OPTION_IGNORE_IF_MATCH},
    {"default-checksum", no_argument, NULL, OPTION_DEFAULT_CHECKSUM},
    {"max-bytes", required_argument, NULL, OPTION_MAX_BYTES},
    {"min-part-size", required_argument, NULL, OPTION_MIN_PART},
    {"port-file", required_argument, NULL, OPTION_PORT_FILE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct mock_options mock;
    const char *port_file;
    struct buf faults;
};

/* 0: go on; 1: all is said, end well; negative: wrong usage, and said so. */
static int take_option(int id, struct arguments *arguments) {
    uint64_t number = 0;
    switch (id) {
    case OPTION_HOST:
        arguments->mock.host = optarg;
        return 0;
    case OPTION_PORT:
        if (text_parse_u64(bytes_str(optarg), &number) < 0 || number > UINT16_MAX) {
            fprintf(stderr, "froe-s3mock: --port: \"%s\" is not a number from 0 to 65535\n", optarg);
            return -EINVAL;
        }
        arguments->mock.port = (uint16_t)number;
        return 0;
    case OPTION_ACCESS_KEY:
        arguments->mock.access_key = optarg;
        return 0;
    case OPTION_SECRET_KEY:
        arguments->mock.secret_key = optarg;
        return 0;
    case OPTION_REGION:
        arguments->mock.region = optarg;
        return 0;
    case OPTION_TLS_CERT:
        arguments->mock.tls_cert = optarg;
        return 0;
    case OPTION_TLS_KEY:
        arguments->mock.tls_key = optarg;
        return 0;
    case OPTION_FAULT:
        return buf_printf(&arguments->faults, "%s\n", optarg);
    case OPTION_IGNORE_IF_MATCH:
        arguments->mock.ignore_if_match = true;
        return 0;
    case OPTION_DEFAULT_CHECKSUM:
        arguments->mock.default_checksum = true;
        return 0;
    case OPTION_MAX_BYTES:
        if (text_parse_u64(bytes_str(optarg), &number) < 0 || number == 0) {
            fprintf(stderr, "froe-s3mock: --max-bytes: \"%s\" is not a number of bytes\n", optarg);
            return -EINVAL;
        }
        arguments->mock.max_bytes = number;
        return 0;
    case OPTION_MIN_PART:
        if (text_parse_u64(bytes_str(optarg), &number) < 0 || number == 0) {
            fprintf(stderr, "froe-s3mock: --min-part-size: \"%s\" is not a number of bytes\n", optarg);
            return -EINVAL;
        }
        arguments->mock.min_part = number;
        return 0;
    case OPTION_PORT_FILE:
        arguments->port_file = optarg;
        return 0;
    case OPTION_HELP:
        fputs(usage, stdout);
        return 1;
    case OPTION_VERSION:
        puts("froe-s3mock " FROE_VERSION);
        return 1;
    default: /* getopt has said what is wrong */
        fputs("Try 'froe-s3mock --help'.\n", stderr);
        return -EINVAL;
    }
}

static int read_arguments(int argc, char **argv, struct arguments *arguments) {
    int id;
    while ((id = getopt_long(argc, argv, "", options_known, NULL)) != -1) {
        int r = take_option(id, arguments);
        if (r != 0)
            return r;
    }
    if (optind < argc) {
        fprintf(stderr, "froe-s3mock: \"%s\" is not an option\nTry 'froe-s3mock --help'.\n", argv[optind]);
        return -EINVAL;
    }
    arguments->mock.faults = arguments->faults.p;
    return 0;
}

/* Whole or not at all: whoever waits for the file must not read half a number. */
static int write_port_file(const char *path, uint16_t port) {
    _cleanup_buf_ struct buf temporary = {0};
    char text[8];
    int n = snprintf(text, sizeof(text), "%u\n", port);
    int r = buf_printf(&temporary, "%s.%ld", path, (long)getpid());
    if (r < 0)
        return r;
    int fd = open(temporary.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    r = write(fd, text, (size_t)n) == n ? 0 : -EIO;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary.p, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary.p);
    return r;
}

static void wait_for_signal(const sigset_t *wanted) {
    int number;
    while (sigwait(wanted, &number) != 0)
        ;
}

static int serve(const struct arguments *arguments) {
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    struct err err = {0};
    struct mock *mock;
    int r = mock_start(&arguments->mock, &mock, &err);
    if (r < 0) {
        fprintf(stderr, "froe-s3mock: %s\n", err.text);
        return r == -EINVAL ? 2 : 1;
    }
    if (arguments->port_file && (r = write_port_file(arguments->port_file, mock_port(mock))) < 0) {
        fprintf(stderr, "froe-s3mock: --port-file %s: %s\n", arguments->port_file, err_errno_text(r));
        mock_stop(mock);
        return 1;
    }
    const char *host = arguments->mock.host ? arguments->mock.host : "127.0.0.1";
    bool v6 = strchr(host, ':') != NULL;
    printf("listening on %s://%s%s%s:%u\n", arguments->mock.tls_cert ? "https" : "http", v6 ? "[" : "", host,
           v6 ? "]" : "", mock_port(mock));
    fflush(stdout);
    wait_for_signal(&ending);
    mock_stop(mock);
    return 0;
}

int main(int argc, char **argv) {
    struct arguments arguments = {.port_file = NULL};
    int r = read_arguments(argc, argv, &arguments);
    int status = r > 0 ? 0 : r < 0 ? 2 : serve(&arguments);
    buf_free(&arguments.faults);
    return status;
}
