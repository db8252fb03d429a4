/* web.h - what crawl.c needs of the web, by libcurl. Nothing of froe is in here. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

enum { WEB_URL_ROOM = 250, WEB_FILE_ROOM = 256 };

/* The name of a page's file: its address, with what is no letter or digit as %xx. 0, or -1: it is too long. */
static inline int web_file_name(const char *url, const char *ending, char file[WEB_FILE_ROOM]) {
    char *escaped = curl_easy_escape(NULL, url, 0);
    int n = escaped ? snprintf(file, WEB_FILE_ROOM, "%s%s", escaped, ending) : -1;
    curl_free(escaped);
    return n >= 0 && n < WEB_FILE_ROOM ? 0 : -1;
}

/* Gets the page into the file, which is there afterwards when the status of the answer, returned, is 200. 0: there was
 * no answer, or the file cannot be written. And for how many seconds the host wants to be left alone, 0: it does not
 * say.
 */
static inline long web_get(const char *url, const char *file, long *ret_retry_after_s) {
    long status = 0;
    curl_off_t retry_after_s = 0;
    FILE *body = fopen(file, "w");
    CURL *curl = curl_easy_init();
    if (body && curl) {
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        if (curl_easy_perform(curl) == CURLE_OK && fflush(body) == 0) {
            curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
            curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after_s);
        }
    }
    curl_easy_cleanup(curl);
    if (body && (fclose(body) != 0 || status != 200))
        remove(file);
    *ret_retry_after_s = (long)retry_after_s;
    return status;
}

typedef void web_link_fn(void *arg, const char *url, const char *host);

/* Tells the full address, and its host, of what `link` means in the page `base`. */
static inline void web_link(const char *base, const char *link, web_link_fn *each, void *arg) {
    char *url = NULL, *host = NULL;
    CURLU *parts = curl_url();
    if (parts && !curl_url_set(parts, CURLUPART_URL, base, 0) && !curl_url_set(parts, CURLUPART_URL, link, 0) &&
        !curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0) && !curl_url_get(parts, CURLUPART_URL, &url, 0) &&
        !curl_url_get(parts, CURLUPART_HOST, &host, 0) && strlen(url) < WEB_URL_ROOM)
        each(arg, url, host);
    curl_free(url);
    curl_free(host);
    curl_url_cleanup(parts);
}

/* The same for each href="..." in the file of the page `base`. -1: it cannot be read. */
static inline int web_links(const char *base, const char *file, web_link_fn *each, void *arg) {
    FILE *body = fopen(file, "r");
    if (!body)
        return -1;
    char link[WEB_URL_ROOM];
    for (int c; (c = getc(body)) != EOF;)
        if (c == 'h' && fscanf(body, "ref=\"%249[^\"]", link) == 1 && getc(body) == '"')
            web_link(base, link, each, arg);
    fclose(body);
    return 0;
}
