"""The challenge's tables that these tests share with those of the challenge."""

from challenge.conftest import edition as edition
from challenge.conftest import maps as maps
from challenge.conftest import small_edition as small_edition
from challenge.conftest import table_text as table_text
from challenge.conftest import text as text
from challenge.conftest import write as write
