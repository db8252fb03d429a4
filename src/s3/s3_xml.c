/* s3_xml.c - S3's XML answers as a table of elements.
 *
 * A plain answer, as nearly all are, is read by xml_plain.c, any other one by expat; the elements are the same.
 * The table says which element under which other one means something; all else is skipped with its subtree. Text is
 * gathered for the leaf that is open, and copied to the result's arena when it closes. */
#include "s3_xml.h"

#include "mem.h"
#include "text.h"
#include "xml_plain.h"

#include <errno.h>
#include <expat.h>

/* ---- the arena: chunks that never move, so that views into them stay good ---- */

#define CHUNK_MIN (16 * 1024)

struct chunk {
    struct chunk *next;
    size_t used, size;
    char data[];
};

struct arena {
    struct chunk *chunks;
    struct s3_object *objects;
    struct s3_bucket *buckets;
    struct s3_tag *tags;
    size_t objects_cap, buckets_cap, tags_cap;
};

static void arena_free(struct arena *arena) {
    if (!arena)
        return;
    while (arena->chunks) {
        struct chunk *next = arena->chunks->next;
        mem_free(arena->chunks);
        arena->chunks = next;
    }
    mem_free(arena->objects);
    mem_free(arena->buckets);
    mem_free(arena->tags);
    mem_free(arena);
}

static int arena_copy(struct arena *arena, struct bytes text, struct bytes *ret_copy) {
    if (text.n == 0) {
        *ret_copy = BYTES_NONE;
        return 0;
    }
    struct chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < text.n) {
        size_t size = text.n > CHUNK_MIN ? text.n : CHUNK_MIN; /* at most S3_XML_MAX */
        chunk = mem_alloc(sizeof *chunk + size);
        if (!chunk)
            return -ENOMEM;
        chunk->next = arena->chunks;
        chunk->used = 0;
        chunk->size = size;
        arena->chunks = chunk;
    }
    char *at = chunk->data + chunk->used;
    memcpy(at, text.p, text.n);
    chunk->used += text.n;
    *ret_copy = bytes_of(at, text.n);
    return 0;
}

/* Makes room for one more in an array of `n`. */
static int array_room(void **array, size_t *cap, size_t n, size_t element_size) {
    if (n < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64; /* bounded by the size of an answer */
    void *grown = mem_reallocarray(*array, more, element_size);
    if (!grown)
        return -ENOMEM;
    *array = grown;
    *cap = more;
    return 0;
}

/* ---- what means something ---- */

enum element {
    NOTHING, /* above the root, and everything that is skipped */
    ERROR,
    ERROR_CODE,
    ERROR_MESSAGE,
    ERROR_REGION,
    ERROR_REQUEST_ID,
    ERROR_BUCKET,
    ERROR_KEY,
    BUCKETS,
    BUCKETS_TOKEN,
    BUCKETS_LIST,
    BUCKET,
    BUCKET_NAME,
    BUCKET_REGION,
    OBJECTS,
    OBJECTS_ENCODING,
    OBJECTS_TRUNCATED,
    OBJECT,
    OBJECT_KEY,
    OBJECT_ETAG,
    OBJECT_SIZE,
    OBJECT_CLASS,
    OBJECT_MODIFIED,
    RESTORE,
    RESTORE_RUNNING,
    RESTORE_EXPIRY,
    VERSIONING,
    VERSIONING_STATUS,
    UPLOAD, /* the beginning of one */
    UPLOAD_ID,
    STORED, /* by a copy, or by the end of an upload */
    STORED_ETAG,
    STORED_CRC32,
    TAGGING,
    TAG_SET,
    TAG,
    TAG_NAME,
    TAG_VALUE,
    ELEMENTS,
};

static const struct rule {
    const char *name;
    enum element parent, element;
    bool leaf;
} rules[] = {
    {"Key", OBJECT, OBJECT_KEY, true},
    {"LastModified", OBJECT, OBJECT_MODIFIED, true},
    {"ETag", OBJECT, OBJECT_ETAG, true},
    {"Size", OBJECT, OBJECT_SIZE, true},
    {"StorageClass", OBJECT, OBJECT_CLASS, true},
    {"RestoreStatus", OBJECT, RESTORE, false},
    {"IsRestoreInProgress", RESTORE, RESTORE_RUNNING, true},
    {"RestoreExpiryDate", RESTORE, RESTORE_EXPIRY, true},
    {"Contents", OBJECTS, OBJECT, false},
    {"EncodingType", OBJECTS, OBJECTS_ENCODING, true},
    {"IsTruncated", OBJECTS, OBJECTS_TRUNCATED, true},
    {"ListBucketResult", NOTHING, OBJECTS, false},
    {"Name", BUCKET, BUCKET_NAME, true},
    {"BucketRegion", BUCKET, BUCKET_REGION, true},
    {"Bucket", BUCKETS_LIST, BUCKET, false},
    {"Buckets", BUCKETS, BUCKETS_LIST, false},
    {"ContinuationToken", BUCKETS, BUCKETS_TOKEN, true},
    {"ListAllMyBucketsResult", NOTHING, BUCKETS, false},
    {"Status", VERSIONING, VERSIONING_STATUS, true},
    {"VersioningConfiguration", NOTHING, VERSIONING, false},
    {"Key", TAG, TAG_NAME, true},
    {"Value", TAG, TAG_VALUE, true},
    {"Tag", TAG_SET, TAG, false},
    {"TagSet", TAGGING, TAG_SET, false},
    {"Tagging", NOTHING, TAGGING, false},
    {"UploadId", UPLOAD, UPLOAD_ID, true},
    {"InitiateMultipartUploadResult", NOTHING, UPLOAD, false},
    {"ETag", STORED, STORED_ETAG, true},
    {"ChecksumCRC32", STORED, STORED_CRC32, true},
    {"CopyObjectResult", NOTHING, STORED, false},
    {"CopyPartResult", NOTHING, STORED, false},
    {"CompleteMultipartUploadResult", NOTHING, STORED, false},
    {"Code", ERROR, ERROR_CODE, true},
    {"Message", ERROR, ERROR_MESSAGE, true},
    {"Region", ERROR, ERROR_REGION, true},
    {"RequestId", ERROR, ERROR_REQUEST_ID, true},
    {"BucketName", ERROR, ERROR_BUCKET, true},
    {"Key", ERROR, ERROR_KEY, true},
    {"Error", NOTHING, ERROR, false},
};

#define BIT(element) (UINT64_C(1) << (element))
#define BITS_OF_BUCKET (BIT(BUCKET_NAME) | BIT(BUCKET_REGION))
#define BITS_OF_OBJECT                                                                                                 \
    (BIT(OBJECT_KEY) | BIT(OBJECT_ETAG) | BIT(OBJECT_SIZE) | BIT(OBJECT_CLASS) | BIT(OBJECT_MODIFIED) | BIT(RESTORE) | \
     BIT(RESTORE_RUNNING) | BIT(RESTORE_EXPIRY))
#define BITS_OF_TAG (BIT(TAG_NAME) | BIT(TAG_VALUE))
_Static_assert(ELEMENTS <= 64, "an element is a bit");

struct parse {
    XML_Parser parser; /* NULL while the answer is read as plain */
    struct s3_xml *xml;
    struct arena *arena;
    enum element root, stack[S3_XML_DEPTH_MAX];
    size_t depth;    /* elements open */
    bool in_leaf;    /* the innermost one is a leaf that means something */
    uint64_t seen;   /* bits of elements, those of an item only while it is open */
    struct buf text; /* of the leaf */
    struct bucket_item {
        struct bytes name, region;
    } bucket;
    struct s3_object object;
    struct s3_tag tag;
    bool url_encoded, restore_running, restore_expires;
    int code;
};

static void stop(struct parse *parse, int code) {
    if (parse->code == 0)
        parse->code = code;
    if (parse->parser)
        XML_StopParser(parse->parser, XML_FALSE);
}

static void begin_element(struct parse *parse, struct bytes local) {
    if (parse->depth == S3_XML_DEPTH_MAX) {
        stop(parse, -E2BIG);
        return;
    }
    enum element parent = parse->depth ? parse->stack[parse->depth - 1] : NOTHING, element = NOTHING;
    bool leaf = false;
    if (parse->depth == 0 || parent != NOTHING) {
        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
            if (rules[i].parent == parent && bytes_equal(local, bytes_str(rules[i].name))) {
                element = rules[i].element;
                leaf = rules[i].leaf;
                break;
            }
    }
    if (parse->depth == 0) {
        if (element != parse->root && element != ERROR) {
            stop(parse, -EBADMSG);
            return;
        }
        parse->root = element;
    }
    if (parse->in_leaf) { /* where text was due */
        stop(parse, -EBADMSG);
        return;
    }
    if (element == BUCKET) {
        parse->bucket = (struct bucket_item){0};
        parse->seen &= ~BITS_OF_BUCKET;
    } else if (element == OBJECT) {
        parse->object = (struct s3_object){0};
        parse->restore_running = parse->restore_expires = false;
        parse->seen &= ~BITS_OF_OBJECT;
    } else if (element == TAG) {
        parse->tag = (struct s3_tag){0};
        parse->seen &= ~BITS_OF_TAG;
    } else if (element != NOTHING) {
        if (parse->seen & BIT(element)) {
            stop(parse, -EBADMSG);
            return;
        }
        parse->seen |= BIT(element);
    }
    parse->stack[parse->depth++] = element;
    parse->in_leaf = leaf;
    buf_reset(&parse->text);
}

static void add_text(struct parse *parse, struct bytes text) {
    int r = parse->in_leaf ? buf_add(&parse->text, text.p, text.n) : 0;
    if (r < 0)
        stop(parse, r);
}

static int parse_xml_bool(struct bytes text, bool *ret_value) {
    if (bytes_equal(text, BYTES("true")))
        *ret_value = true;
    else if (bytes_equal(text, BYTES("false")))
        *ret_value = false;
    else
        return -EBADMSG;
    return 0;
}

static int end_leaf(struct parse *parse, enum element element) {
    struct bytes raw = buf_bytes(&parse->text), text = bytes_trim(raw);
    struct s3_xml *xml = parse->xml;
    struct s3_object *object = &parse->object;
    switch (element) {
    case ERROR_CODE:
        return arena_copy(parse->arena, text, &xml->error.code);
    case ERROR_MESSAGE:
        return arena_copy(parse->arena, text, &xml->error.message);
    case ERROR_REGION:
        return arena_copy(parse->arena, text, &xml->error.region);
    case ERROR_REQUEST_ID:
        return arena_copy(parse->arena, text, &xml->error.request_id);
    case ERROR_BUCKET:
        return arena_copy(parse->arena, text, &xml->error.bucket);
    case ERROR_KEY:
        return arena_copy(parse->arena, raw, &xml->error.key);
    case BUCKETS_TOKEN:
        return arena_copy(parse->arena, raw, &xml->buckets.next_token);
    case BUCKET_NAME:
        return arena_copy(parse->arena, text, &parse->bucket.name);
    case BUCKET_REGION:
        return arena_copy(parse->arena, text, &parse->bucket.region);
    case OBJECTS_ENCODING:
        parse->url_encoded = bytes_equal_nocase(text, BYTES("url"));
        return text.n == 0 || parse->url_encoded ? 0 : -EBADMSG;
    case OBJECTS_TRUNCATED:
        return parse_xml_bool(text, &xml->objects.truncated);
    case OBJECT_KEY:
        return arena_copy(parse->arena, raw, &object->key);
    case OBJECT_ETAG:
        return text.n > S3_ETAG_MAX ? -EBADMSG : arena_copy(parse->arena, text, &object->etag);
    case OBJECT_SIZE:
        return text_parse_u64(text, &object->size) < 0 ? -EBADMSG : 0;
    case OBJECT_CLASS:
        return arena_copy(parse->arena, text, &object->storage_class);
    case OBJECT_MODIFIED:
        return text_parse_iso8601(text, &object->modified_utc_us) < 0 ? -EBADMSG : 0;
    case RESTORE_RUNNING:
        return parse_xml_bool(text, &parse->restore_running);
    case RESTORE_EXPIRY:
        parse->restore_expires = text.n > 0;
        return 0;
    case VERSIONING_STATUS:
        if (bytes_equal(text, BYTES("Enabled")))
            xml->versioning = S3_VERSIONING_ENABLED;
        else if (bytes_equal(text, BYTES("Suspended")))
            xml->versioning = S3_VERSIONING_SUSPENDED;
        else
            return text.n ? -EBADMSG : 0;
        return 0;
    case UPLOAD_ID:
        return text.n > S3_UPLOAD_ID_MAX ? -EBADMSG : arena_copy(parse->arena, text, &xml->upload_id);
    case STORED_ETAG:
        return text.n > S3_ETAG_MAX ? -EBADMSG : arena_copy(parse->arena, text, &xml->etag);
    case STORED_CRC32:
        return arena_copy(parse->arena, text, &xml->crc32);
    case TAG_NAME:
        return arena_copy(parse->arena, raw, &parse->tag.name);
    case TAG_VALUE:
        return arena_copy(parse->arena, raw, &parse->tag.value);
    default:
        return 0;
    }
}

static int end_bucket(struct parse *parse) {
    struct arena *arena = parse->arena;
    size_t n = parse->xml->buckets.n;
    if (parse->bucket.name.n == 0)
        return -EBADMSG;
    void *array = arena->buckets;
    int r = array_room(&array, &arena->buckets_cap, n, sizeof *arena->buckets);
    if (r < 0)
        return r;
    arena->buckets = array;
    arena->buckets[n] = (struct s3_bucket){.name = parse->bucket.name, .region = parse->bucket.region};
    parse->xml->buckets.n++;
    return 0;
}

static int end_object(struct parse *parse) {
    struct arena *arena = parse->arena;
    size_t n = parse->xml->objects.n;
    if (parse->object.key.n == 0 || !(parse->seen & BIT(OBJECT_SIZE)))
        return -EBADMSG;
    void *array = arena->objects;
    int r = array_room(&array, &arena->objects_cap, n, sizeof *arena->objects);
    if (r < 0)
        return r;
    arena->objects = array;
    parse->object.restored = parse->restore_expires && !parse->restore_running;
    arena->objects[n] = parse->object;
    parse->xml->objects.n++;
    return 0;
}

static int end_tag(struct parse *parse) {
    struct arena *arena = parse->arena;
    size_t n = parse->xml->n_tags;
    if (parse->tag.name.n == 0)
        return -EBADMSG;
    void *array = arena->tags;
    int r = array_room(&array, &arena->tags_cap, n, sizeof *arena->tags);
    if (r < 0)
        return r;
    arena->tags = array;
    arena->tags[n] = parse->tag;
    parse->xml->n_tags++;
    return 0;
}

static void end_element(struct parse *parse) {
    enum element element = parse->stack[--parse->depth];
    int r = 0;
    if (parse->in_leaf)
        r = end_leaf(parse, element);
    else if (element == BUCKET)
        r = end_bucket(parse);
    else if (element == OBJECT)
        r = end_object(parse);
    else if (element == TAG)
        r = end_tag(parse);
    parse->in_leaf = false;
    if (r < 0)
        stop(parse, r);
}

/* ---- the two readers ---- */

static int plain_start(void *arg, struct bytes name) {
    struct parse *parse = arg;
    begin_element(parse, name);
    return parse->code;
}

static int plain_text(void *arg, struct bytes text) {
    struct parse *parse = arg;
    add_text(parse, text);
    return parse->code;
}

static int plain_end(void *arg) {
    struct parse *parse = arg;
    end_element(parse);
    return parse->code;
}

/* After a code was set expat may still tell what it had read. */
static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes) {
    struct parse *parse = arg;
    const char *colon = strrchr(name, ':');
    if (parse->code == 0)
        begin_element(parse, bytes_str(colon ? colon + 1 : name));
}

static void on_text(void *arg, const XML_Char *text, int n) {
    struct parse *parse = arg;
    if (parse->code == 0)
        add_text(parse, bytes_of(text, (size_t)n));
}

static void on_end(void *arg, const XML_Char *name) {
    struct parse *parse = arg;
    if (parse->code == 0)
        end_element(parse);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id,
                       int has_internal_subset) {
    stop(arg, -EBADMSG);
}

/* The encoding is told after the keys on some servers, so keys are decoded when all is read. */
static int decode_keys(struct parse *parse) {
    _cleanup_buf_ struct buf key = {0};
    for (size_t i = 0; i < parse->xml->objects.n; i++) {
        struct s3_object *object = &parse->arena->objects[i];
        if (parse->url_encoded &&
            (memchr(object->key.p, '%', object->key.n) || memchr(object->key.p, '+', object->key.n))) {
            buf_reset(&key);
            int r = text_add_unpercent(&key, object->key, true);
            if (r >= 0)
                r = arena_copy(parse->arena, buf_bytes(&key), &object->key);
            if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        }
        if (object->key.n == 0 || object->key.n > S3_KEY_MAX)
            return -EBADMSG;
    }
    return 0;
}

static int finish(struct parse *parse) {
    struct s3_xml *xml = parse->xml;
    xml->buckets.buckets = parse->arena->buckets;
    xml->tags = parse->arena->tags;
    if ((parse->root == UPLOAD && xml->upload_id.n == 0) || (parse->root == STORED && xml->etag.n == 0))
        return -EBADMSG;
    if (parse->root != OBJECTS)
        return 0;
    if (!(parse->seen & BIT(OBJECTS_TRUNCATED)) || (xml->objects.truncated && xml->objects.n == 0))
        return -EBADMSG;
    int r = decode_keys(parse);
    if (r < 0)
        return r;
    xml->objects.objects = parse->arena->objects;
    if (xml->objects.n)
        xml->objects.last_key = xml->objects.objects[xml->objects.n - 1].key;
    return 0;
}

static int read_with_expat(struct parse *parse, struct bytes body) {
    static const XML_Memory_Handling_Suite memory = {mem_alloc, mem_realloc, mem_free};
    /* UTF-8 whatever the declaration says: S3 sends nothing else, and text then never grows when it is converted. */
    parse->parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
    if (!parse->parser)
        return -ENOMEM;
    XML_SetUserData(parse->parser, parse);
    XML_SetElementHandler(parse->parser, on_start, on_end);
    XML_SetCharacterDataHandler(parse->parser, on_text);
    XML_SetStartDoctypeDeclHandler(parse->parser, on_doctype);
    int r = 0;
    if (XML_Parse(parse->parser, body.p, (int)body.n, 1) != XML_STATUS_OK) {
        if (parse->code)
            r = parse->code;
        else
            r = XML_GetErrorCode(parse->parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EBADMSG;
    }
    XML_ParserFree(parse->parser);
    return r;
}

static int run(struct parse *parse, struct bytes body) {
    static const struct xml_plain_events plain = {plain_start, plain_text, plain_end};
    struct s3_xml *xml = parse->xml;
    const struct parse afresh = {.xml = xml, .arena = parse->arena, .root = parse->root};
    int r = xml_plain_read(body, &plain, parse);
    if (r == XML_NOT_PLAIN) {
        buf_free(&parse->text);
        *parse = afresh;
        *xml = (struct s3_xml){.arena = parse->arena};
        r = read_with_expat(parse, body);
    }
    return r < 0 ? r : finish(parse);
}

static int parse_body(struct bytes body, enum element root, struct s3_xml *ret_xml) {
    *ret_xml = (struct s3_xml){0};
    if (body.n > S3_XML_MAX)
        return -E2BIG;
    while (body.n && (*body.p == ' ' || *body.p == '\n' || *body.p == '\r'))
        body = bytes_of(body.p + 1, body.n - 1); /* sent to keep the connection, ahead of the document */
    if (body.n == 0)
        return -EBADMSG;
    struct arena *arena = mem_zalloc(sizeof *arena);
    if (!arena)
        return -ENOMEM;
    struct s3_xml xml = {.arena = arena};
    struct parse parse = {.xml = &xml, .arena = arena, .root = root};
    int r = run(&parse, body);
    buf_free(&parse.text);
    if (r >= 0 && parse.root == ERROR) {
        if (root != ERROR)
            r = S3XML_ERROR_IN_BODY;
        else if (xml.error.code.n == 0)
            r = -EBADMSG;
    }
    if (r < 0 && r != S3XML_ERROR_IN_BODY) {
        arena_free(arena);
        return r;
    }
    *ret_xml = xml;
    return r;
}

int s3_xml_error(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, ERROR, ret_xml);
}

int s3_xml_buckets(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, BUCKETS, ret_xml);
}

int s3_xml_objects(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, OBJECTS, ret_xml);
}

int s3_xml_versioning(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, VERSIONING, ret_xml);
}

int s3_xml_upload(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, UPLOAD, ret_xml);
}

int s3_xml_stored(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, STORED, ret_xml);
}

int s3_xml_tags(struct bytes body, struct s3_xml *ret_xml) {
    return parse_body(body, TAGGING, ret_xml);
}

int s3_xml_add_text(struct buf *buf, struct bytes text) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '&')
            r = buf_add_str(buf, "&amp;");
        else if (c == '<')
            r = buf_add_str(buf, "&lt;");
        else if (c == '>')
            r = buf_add_str(buf, "&gt;");
        else if (c == '"')
            r = buf_add_str(buf, "&quot;");
        else if (c == '\t' || c == '\n' || c == '\r')
            r = buf_printf(buf, "&#%u;", c);
        else
            r = c < 32 ? -EINVAL : buf_add_byte(buf, (char)c);
    }
    return r;
}

void s3_xml_free(struct s3_xml *xml) {
    if (!xml)
        return;
    arena_free(xml->arena);
    *xml = (struct s3_xml){0};
}
