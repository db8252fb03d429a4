/* aws.h - credentials, settings and the S3 client as the commands need them, from where AWS users keep them. */
#pragma once

#include "err.h"
#include "s3.h"

struct aws {
    struct aws_settings settings;
    struct credentials_provider *credentials;
    struct s3_client *s3;
};

/* 0, or the exit code for what is missing, with a text. */
int aws_open(uv_loop_t *loop, uint32_t max_connections, struct aws *ret_aws, struct err *err);
/* Closes the client, then frees all; `closed` comes from the loop. An aws that was never opened (all zero) is fine. */
void aws_close(struct aws *aws, void (*closed)(void *arg), void *arg);
