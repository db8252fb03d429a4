/* load.c - a plugin's file, its table, its beginning and its end. */
#include "host.h"

#include <dlfcn.h>

#define TABLE "froe_plugin_table"
#define REASON_BYTES 400

/* What came with the first version. */
#define TABLE_SIZE_LEAST (offsetof(froe_plugin, end) + sizeof(((froe_plugin *)NULL)->end))

int plugin_load(const char *path, struct plugin *ret_plugin, struct err *err) {
    dlerror();
    void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* never closed: it is all that this process is for */
    if (!file)
        return err_set(err, -ENOENT, "cannot load the plugin: %s", dlerror());
    const froe_plugin *table = dlsym(file, TABLE);
    if (!table)
        return err_set(err, -ENOENT,
                       "'%.300s' is no plugin: it has no symbol " TABLE " (is it static, or extern \"C\" missing?)",
                       path);
    if (table->size < offsetof(froe_plugin, name) || table->version != FROE_PLUGIN_VERSION)
        return err_set(err, -EINVAL, "'%.300s' is a plugin of version %u; this froe takes version %d: compile it again",
                       path, table->size < offsetof(froe_plugin, name) ? 0 : table->version, FROE_PLUGIN_VERSION);
    if (table->size < TABLE_SIZE_LEAST || !table->process)
        return err_set(err, -EINVAL, "'%.300s' is a plugin without a function `process`", path);
    if (table->flags & ~FROE_PLUGIN_STREAMS)
        return err_set(err, -EINVAL, "'%.300s' has flags that this froe does not know: %#x", path, table->flags);
    *ret_plugin = (struct plugin){.table = table};
    return 0;
}

int plugin_begin(struct plugin *plugin, int argc, char **argv, struct err *err) {
    char reason[REASON_BYTES] = "";
    const char *name = plugin->table->name ? plugin->table->name : "";
    if (!plugin->table->begin)
        return argc == 0 ? 0 : err_set(err, -EINVAL, "plugin %.100s takes no arguments", name);
    int r = plugin->table->begin(&plugin_host, argc, argv, &plugin->state, reason, sizeof reason);
    reason[sizeof reason - 1] = '\0';
    if (r != 0)
        return err_set(err, -EINVAL, "plugin %.100s cannot begin: %s", name, reason[0] ? reason : "it says no reason");
    return 0;
}

void plugin_end(struct plugin *plugin) {
    if (plugin->table->end)
        plugin->table->end(plugin->state);
}
