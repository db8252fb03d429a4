/* fixture_postgres.h - the fixture of fixture.h over either store, so that each rule of the engine is tested over both:
 *
 *     test_engine_retry             each test has a file of its own
 *     test_engine_retry postgres    ... a schema of its own, on one PostgreSQL server that ends with the program */
#pragma once

/* First in main, with its arguments. 0: go on; else what the program exits with, having said why. */
int fixture_over(int argc, char **argv);
