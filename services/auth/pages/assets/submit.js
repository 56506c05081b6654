// Submits the only form of the page. Without this script a person presses its button.
"use strict";

document.forms[0].submit();
