// hello.cc - hello.c in C++11.
//
//     c++ hello.cc $(pkg-config --cflags --libs froe) -o hello
//     ./hello '{"name": "World"}'
#include <froe.h>

#include <iostream>
#include <stdexcept>
#include <string>

static void check(int code, const froe_error &error) {
    if (code != FROE_OK)
        throw std::runtime_error(error.text);
}

// A task function is called from C: what is thrown in it must be caught in it.
static void greet(froe_task *task, void *) {
    std::string result = "{\"hello\": " + std::string(froe_task_input(task)) + "}";
    if (froe_task_succeed_with(task, result.c_str()) != FROE_OK)
        froe_task_fail(task, FROE_FAIL_FINAL, "the greeting does not fit");
}

static std::string greeting(froe *engine, const char *input) {
    froe_error error;
    froe_workflow workflow{};
    workflow.size = sizeof workflow;
    workflow.name = "greet";
    workflow.run = greet;
    workflow.flags = FROE_BLOCKING;
    check(froe_workflow_add(engine, &workflow, &error), error);
    check(froe_start(engine, &error), error);

    froe_spawn spawn{};
    spawn.size = sizeof spawn;
    spawn.workflow = "greet";
    spawn.input = input;
    spawn.n = 1;
    froe_spawned spawned;
    froe_run_id id;
    check(froe_spawn_sync(engine, &spawn, &spawned, &id, &error), error);

    froe_result *results;
    check(froe_wait_sync(engine, nullptr, &id, 1, 0, &results, &error), error);
    std::string text = results[0].state == FROE_SUCCEEDED ? results[0].result : results[0].error;
    froe_results_free(results);
    return text;
}

int main(int argc, char **argv) try {
    froe_options options{};
    options.size = sizeof options;
    options.store = "sqlite:hello.db";
    froe *engine;
    froe_error error;
    check(froe_open(&options, &engine, &error), error);
    struct Closer {
        froe *engine;
        ~Closer() {
            froe_close(engine, nullptr, nullptr);
        }
    } closer{engine};

    std::cout << greeting(engine, argc > 1 ? argv[1] : "{\"name\": \"World\"}") << "\n";
} catch (const std::exception &thrown) {
    std::cerr << "hello: " << thrown.what() << "\n";
    return 1;
}
